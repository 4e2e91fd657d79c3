"""Networks with anchors from training to boxes: started from a base, trained, resumed, run."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmask.networks.anchors.config import AnchorConfig
from deepmask.networks.families import build
from deepmask.networks.presets import PRESETS
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.data import DataFiles
from deepmask.train.errors import TrainUsageError
from deepmask.train.loop import BEST, LOG, Schedule
from deepmask.train.run import Request, train
from tests.networks.tiny_anchors import LIGHT, LIGHT_FASTER_RCNN, LIGHT_RETINANET, RPN

SHORT: dict[str, Any] = {
    **{"steps": 2, "batch": 2, "crop": 128, "warmup": 0, "lr": 0.01},
    "schedule": "constant",
}


def request_of(
    preset: str,
    config: AnchorConfig,
    drawn: tuple[Path, Path],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Request:
    """Two steps of a small network like the preset's."""
    recipe = replace(PRESETS[preset].recipe, **SHORT)
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS[preset], config=config, recipe=recipe))
    data = DataFiles(*drawn)
    return Request("tiny", data, folder / "run", recipe, schedule=Schedule(recall_every=0))


@pytest.fixture
def base(drawn: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trained `fpn-lite` of the width that the small networks have."""
    config = LIGHT.base()
    assert config is not None
    recipe = replace(PRESETS["fpn-lite"].recipe, steps=1, batch=1, whole_share=0.0, average=0.0)
    preset = replace(PRESETS["fpn-lite"], config=config, recipe=recipe)
    monkeypatch.setitem(PRESETS, "tiny-base", preset)
    request = Request("tiny-base", DataFiles(*drawn), tmp_path / "base", recipe, init="random")
    return train(request).last


@pytest.mark.parametrize(
    ("preset", "config", "parts"),
    [
        ("rpn-lite", LIGHT, {"proposals"}),
        ("retinanet-lite", LIGHT_RETINANET, {"category", "offset"}),
        ("faster-rcnn-lite", LIGHT_FASTER_RCNN, {"proposals", "head"}),
    ],
)
def test_what_reads_a_trained_pyramid_learns_and_the_pyramid_stays(
    preset: str,
    config: AnchorConfig,
    parts: set[str],
    base: Path,
    drawn: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped after a step and resumed, it is the same to the bit."""
    request = request_of(preset, config, drawn, tmp_path, monkeypatch)
    whole = load_checkpoint(train(replace(request, base=base)).last)
    before = load_checkpoint(base).weights
    for name, value in whole.weights.items():
        if name.startswith("backbone."):
            assert torch.equal(value, before[name.removeprefix("backbone.")])
        else:
            assert name.split(".")[0] in parts
    assert whole.build().config == whole.model

    assert request.recipe is not None
    first = replace(request, out=tmp_path / "half", recipe=replace(request.recipe, steps=1))
    train(replace(first, base=base))
    resumed = load_checkpoint(train(replace(first, recipe=request.recipe, resume=True)).last)
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value), name


def test_without_a_base_the_trunk_learns(
    drawn: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of("rpn", RPN, drawn, tmp_path, monkeypatch)
    trained = load_checkpoint(train(replace(request, init="random")).last)
    torch.manual_seed(request.seed)
    start = build(RPN).state_dict()
    changed = {
        name.split(".")[1] for name, w in trained.weights.items() if not torch.equal(w, start[name])
    }
    assert {"trunk", "pyramid", "tower"} <= changed
    light = request_of("rpn-lite", LIGHT, drawn, tmp_path / "light", monkeypatch)
    train(replace(light, init="random"))
    with pytest.raises(TrainUsageError, match="or --from a trained network"):
        train(replace(light, out=tmp_path / "none"))
    with pytest.raises(TrainUsageError, match="are two starts: give one"):
        train(replace(light, out=tmp_path / "both", init="random", base=tmp_path / "base.pt"))


def test_the_best_checkpoint_is_that_of_the_boxes(
    base: Path, drawn: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of("retinanet-lite", LIGHT_RETINANET, drawn, tmp_path, monkeypatch)
    data = replace(request.data, val_annotations=drawn[0], val_images=drawn[1])
    schedule = Schedule(log_every=1, recall_every=1)
    train(replace(request, base=base, data=data, schedule=schedule, recall_images=2))
    with (request.out / LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["segm_AR@100"] for row in rows] == ["", ""]
    boxes = [float(row["bbox_AR@100"]) for row in rows]
    assert all(0 <= one <= 1 for one in boxes)
    if max(boxes) > 0:
        assert load_checkpoint(request.out / BEST).training["step"] == 1 + boxes.index(max(boxes))
