"""What parity compares: scores and masks always, features of networks that have some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from deepmask.export import parity
from deepmask.export.predict import Sample, Tensors, predict_with_torch
from deepmask.networks.dense.graphs import DenseForm, DenseModel, manifest_of
from deepmask.runtime.model.manifest import Manifest
from tests.networks import toy


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> DenseModel:
    """Graphs without features; what is written is taken to be what PyTorch gives."""
    found = toy.dense_toy(toy.ToyNetwork(toy.ToyConfig()).eval())

    def written(folder: Path, form: DenseForm, sample: Sample) -> Tensors:
        return predict_with_torch(found.main, sample)

    monkeypatch.setattr(parity, "predict_with_onnxruntime", written)
    return found


def sketch(dense: DenseModel) -> Manifest:
    return manifest_of(dense, toy.describe_toy(toy.ToyConfig()), name="toy", about={})


def test_features_that_nobody_compared_have_no_figure(dense: DenseModel) -> None:
    found, rounding = parity.compare(Path(), sketch(dense), dense, dense)
    assert [(one.features, one.scores, one.masks, one.worst) for one in found] == [
        (None, 0, 0, 0)
    ] * len(parity.PICTURE_SIZES)
    assert rounding == []
    for line in parity.as_table(found, rounding).splitlines()[2:]:
        assert line.split()[2:] == ["–", "0.0e+00", "0.0e+00"]
    parity.require_parity(found)


def test_a_reference_without_masks_proves_nothing(dense: DenseModel) -> None:
    def scores_only(canvas: Tensor, locations: Tensor) -> dict[str, Tensor]:
        return {"score": dense.main.reference(canvas, locations)["score"]}

    network = replace(dense, main=replace(dense.main, reference=scores_only))
    with pytest.raises(ValueError, match="the reference lacks a mask of the graphs"):
        parity.compare(Path(), sketch(dense), dense, network)
