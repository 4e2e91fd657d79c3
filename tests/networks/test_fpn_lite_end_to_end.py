"""`fpn-lite` from training to masks: trained, resumed to the bit, exported, run and measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmask.evaluate.evaluator import evaluate
from deepmask.evaluate.request import Request as EvalRequest
from deepmask.export.request import ExportRequest, export
from deepmask.networks.presets import PRESETS
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.data import DataFiles
from deepmask.train.initialise import read_trained
from deepmask.train.loop import Schedule
from deepmask.train.run import Request, train
from tests.networks.tiny_fpn import TINY
from tests.train.small import same


@pytest.fixture
def request_of(
    drawn: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Request:
    """Two steps of a small network on drawn pictures."""
    annotations, images = drawn
    recipe = replace(PRESETS["fpn-lite"].recipe, steps=2, batch=1, whole_share=0.0, average=0.9)
    preset = replace(PRESETS["fpn-lite"], config=TINY, recipe=recipe)
    monkeypatch.setitem(PRESETS, "tiny", preset)
    return Request(
        "tiny",
        DataFiles(annotations, images, val_annotations=annotations, val_images=images),
        tmp_path / "run",
        recipe,
        init="random",
        recall_images=1,
        schedule=Schedule(validate_every=10),
    )


def longer(request: Request) -> Request:
    """The same run, of four steps."""
    assert request.recipe is not None
    return replace(request, recipe=replace(request.recipe, steps=4))


def test_a_resumed_run_is_equal_to_the_bit(request_of: Request, tmp_path: Path) -> None:
    """The learning rate depends on the length, so both have the same one."""
    assert request_of.recipe is not None
    recipe = replace(request_of.recipe, schedule="constant")
    unmeasured = replace(request_of.data, val_annotations=None, val_images=None)
    constant = replace(request_of, recipe=recipe, data=unmeasured)
    train(constant)
    resumed = train(replace(longer(constant), resume=True)).last
    whole = train(replace(longer(constant), out=tmp_path / "whole")).last
    weights = [torch.load(one, weights_only=True)["weights"] for one in (resumed, whole)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_from_training_to_evaluation(request_of: Request, tmp_path: Path) -> None:
    told: list[str] = []
    last = train(request_of, told.append).last
    assert any("objectness" in line and "AR@100" in line for line in told)
    assert (request_of.out / "best.pt").exists()

    folder = export(ExportRequest(last, tmp_path / "model")).folder
    assert same(read_trained(folder, TINY).weights, load_checkpoint(last).weights)
    unmeasured = replace(request_of.data, val_annotations=None, val_images=None)
    again = replace(request_of, data=unmeasured, base=folder, init=None, out=tmp_path / "again")
    assert train(again).step == 2

    for size in ((1, 1), (37, 211), (640, 480)):
        picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        with DeepMask.load(folder, engine="onnxruntime") as model:
            found = model(picture, proposals=50)
        assert found.image_size == size
        assert (np.diff(found.scores) <= 0).all()

    annotations, images = request_of.data.train_annotations, request_of.data.train_images
    measured = evaluate(EvalRequest(annotations=annotations, images=images, model=folder, limit=1))
    assert measured.metrics is not None
    assert measured.metrics["images"] == 1
