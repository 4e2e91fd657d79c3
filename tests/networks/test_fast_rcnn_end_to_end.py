"""Fast R-CNN from training to names on masks: trained on a base, exported, run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmask.coco.formats import read_labels
from deepmask.export.request import ExportRequest, export
from deepmask.networks.presets import PRESETS
from deepmask.runtime.model.manifest import VIEW
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.data import DataFiles
from deepmask.train.errors import TrainUsageError
from deepmask.train.run import Request, train
from tests.networks.tiny_fast_rcnn import OF_TRUNK
from tests.networks.tiny_fpn import TINY


@pytest.fixture
def requests(
    drawn: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Request, Request]:
    """A step of a small base, and two of the network that names its boxes."""
    recipe = replace(PRESETS["fpn-lite"].recipe, steps=1, batch=1, whole_share=0.0, average=0.0)
    named = replace(PRESETS["fast-rcnn-lite"].recipe, steps=2, batch=1, lr=0.01, warmup=0)
    bases = replace(PRESETS["fpn-lite"], config=TINY, recipe=recipe)
    monkeypatch.setitem(PRESETS, "tiny", bases)
    names = replace(PRESETS["fast-rcnn-lite"], config=OF_TRUNK, recipe=named)
    monkeypatch.setitem(PRESETS, "tiny-names", names)
    data = DataFiles(*drawn)
    first = Request("tiny", data, tmp_path / "base", recipe, init="random")
    second = Request("tiny-names", data, tmp_path / "names", named, init="random")
    return first, replace(second, base=tmp_path / "base" / "last.pt")


def test_from_training_to_names(requests: tuple[Request, Request], tmp_path: Path) -> None:
    first, second = requests
    base = load_checkpoint(train(first).last)
    last = train(second).last
    named = load_checkpoint(last)
    for name, value in base.weights.items():
        assert torch.equal(named.weights[f"base.{name}"], value)

    labels = read_labels(second.data.train_annotations, second.data.train_images)
    used = {one.category for one in labels.objects}
    exported = export(ExportRequest(last, tmp_path / "model"))
    categories = exported.manifest.categories
    assert categories is not None
    assert {one.id for one in categories} == used
    assert {one.name for one in categories} == {labels.categories.get(k, str(k)) for k in used}
    assert [one.name for one in exported.manifest.stages if one.per == VIEW] == ["score", "names"]

    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    with DeepMask.load(exported.folder, engine="onnxruntime") as model:
        found = model(picture, proposals=20, label_score=0.0)
        plain = model(picture, proposals=20, labels=False)
    assert found.classes is not None
    assert set(found.classes.names) <= {one.name for one in categories} | {"object"}
    np.testing.assert_array_equal(found.scores, plain.scores)


def test_what_it_starts_from_is_asked_for(requests: tuple[Request, Request]) -> None:
    _, second = requests
    with pytest.raises(TrainUsageError, match="--from is missing"):
        train(replace(second, base=None))
    with pytest.raises(TrainUsageError, match="--init is missing"):
        train(replace(second, init=None))


def test_a_run_on_stored_proposals_is_another(
    requests: tuple[Request, Request], tmp_path: Path
) -> None:
    first, second = requests
    train(first)
    labels = read_labels(second.data.train_annotations, second.data.train_images)
    path = tmp_path / "proposals.json"
    results = [
        {"image_id": image.id, "bbox": [0, 0, 9, 9], "score": 0.5} for image in labels.images
    ]
    path.write_text(json.dumps(results))
    stored = replace(second, data=replace(second.data, proposals=path), out=tmp_path / "stored")
    one, other = (load_checkpoint(train(request).last) for request in (second, stored))
    assert one.training["conditions"] != other.training["conditions"]
    bias = "head.category.bias"
    assert not torch.equal(one.weights[bias], other.weights[bias])
    resumed = replace(stored, resume=True, recipe=replace(second.recipe, steps=3))  # type: ignore[type-var]
    path.write_text(json.dumps(results[:-1]))
    warned: list[str] = []
    train(resumed, warn=warned.append)
    assert any("the training proposals have changed" in line for line in warned)
