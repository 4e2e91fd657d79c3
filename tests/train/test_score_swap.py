"""DeepMask20*: one network's masks with another's scores, in one exportable network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmask import DeepMask as RuntimeModel
from deepmask.export.exporter import export_model
from deepmask.export.options import ExportOptions
from deepmask.networks.dense.torch_engine import runnable
from deepmask.networks.families import build
from deepmask.networks.patches.config import DeepMaskConfig, sharpened
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.find_masks import Windows
from deepmask.train.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    with_scores_of,
)

FULL = {"mask_head": "full", "rank": 0}
REFINED = {"refine_widths": (6, 4, 4), "skip_widths": (5, 5), "sharp_size": 8}


@pytest.fixture(
    params=[
        {},
        {"score_head": "pooled", "trunk": "vgg-a"},
        {"score_head": "pooled", **FULL},
        {"score_head": "separate"},
        {"score_head": "reduced"},
        {"score_head": "reduced", **FULL},
        REFINED,
        {"score_head": "reduced", **REFINED},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()) or "shared",
)
def config(request: pytest.FixtureRequest, tiny_model: DeepMaskConfig) -> DeepMaskConfig:
    changes = dict(request.param)
    if "sharp_size" in changes:
        head = changes.pop("score_head", tiny_model.score_head)
        return sharpened(replace(tiny_model, score_head=head), **changes)
    return replace(tiny_model, **changes)


def random_checkpoint(config: DeepMaskConfig, seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    return Checkpoint(config, build(config).state_dict(), {})


def test_masks_are_the_firsts_and_scores_the_seconds(
    config: DeepMaskConfig, tmp_path: Path
) -> None:
    first, second = random_checkpoint(config, 0), random_checkpoint(config, 1)
    save_checkpoint(with_scores_of(first, second), tmp_path / "twin.pt")
    twin = load_checkpoint(tmp_path / "twin.pt").build()
    patches = 255 * torch.rand(3, 3, config.input_size, config.input_size)
    with torch.no_grad():
        masks, scores = twin(patches)
        torch.testing.assert_close(masks, first.build()(patches)[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(scores, second.build()(patches)[1], rtol=1e-4, atol=1e-5)


def test_the_runtime_ranks_by_the_second(config: DeepMaskConfig) -> None:
    first, second = random_checkpoint(config, 0), random_checkpoint(config, 1)
    twin, masks, scores = map(seen, map(in_torch, (with_scores_of(first, second), first, second)))
    assert_same_scores(twin, scores)
    where = {(r, c): k for k, (r, c) in enumerate(places(masks))}
    order = [where[place] for place in places(twin)]
    np.testing.assert_allclose(twin.logits, masks.logits[order], rtol=1e-3, atol=1e-5)
    assert order != sorted(order)  # the first network would have ranked otherwise


@pytest.mark.slow
def test_export_ranks_by_the_second(tiny_model: DeepMaskConfig, tmp_path: Path) -> None:
    paths = [tmp_path / "masks.pt", tmp_path / "scores.pt"]
    for seed, path in enumerate(paths):
        save_checkpoint(random_checkpoint(tiny_model, seed), path)
    export_model(paths[0], tmp_path / "model", ExportOptions(scores_from=paths[1]))
    exported = seen(RuntimeModel.load(tmp_path / "model", engine="onnxruntime", device="cpu"))
    masks, scores = (seen(in_torch(load_checkpoint(path))) for path in paths)
    assert_same_scores(exported, scores)
    best = places(masks).index(places(exported)[0])
    np.testing.assert_allclose(exported.logits[0], masks.logits[best], rtol=1e-3, atol=1e-5)


def in_torch(checkpoint: Checkpoint) -> RuntimeModel:
    return runnable(checkpoint.build(), torch.device("cpu"))


def seen(model: RuntimeModel) -> Windows:
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    with model:
        return model.windows(image, proposals=10_000, scales=Scales(0, 0, 1))


def places(found: Windows) -> list[tuple[int, int]]:
    chosen = found.selection
    return list(zip(chosen.row.tolist(), chosen.col.tolist(), strict=True))


def assert_same_scores(found: Windows, expected: Windows) -> None:
    """Probabilities, to a ten-thousandth."""
    one, other = (1 / (1 + np.exp(-side.selection.logit)) for side in (found, expected))
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_different_networks_are_refused(tiny_model: DeepMaskConfig) -> None:
    first = random_checkpoint(tiny_model, 0)
    second = random_checkpoint(replace(tiny_model, rank=8), 0)
    with pytest.raises(CheckpointError, match="must come from the same preset"):
        with_scores_of(first, second)
    twin = with_scores_of(first, first)
    with pytest.raises(CheckpointError, match="must come from the same preset"):
        with_scores_of(twin, twin)
