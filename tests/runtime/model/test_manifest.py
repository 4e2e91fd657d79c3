"""What a manifest says of itself: scales, stages by kind, files, and its coarse form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepmask.runtime.model.folder import read_manifest
from deepmask.runtime.model.manifest import Manifest, ModelFolderError, Scales, TensorSpec
from deepmask.runtime.model.manifest import checked_scales as checked


@pytest.fixture
def refined(refined_folder: Path) -> Manifest:
    return read_manifest(refined_folder)


def test_zoom_is_one_scale_more() -> None:
    """Factors are powers of two, both ends included, also when steps do not add up exactly."""
    assert Scales(-2.5, 0.5, 0.5).zoomed().factors()[-1] == 2
    assert Scales(-2.5, 0.5, 0.5).zoomed(2) == Scales(-2.5, 1.5, 0.5)
    assert Scales(-2.5, 0.5, 0.5).zoomed(0) == Scales(-2.5, 0.5, 0.5)
    assert Scales(-2, 1, 0.5).factors() == tuple(2.0 ** (k / 2) for k in range(-4, 3))
    assert len(Scales(-1, 1, 0.1).factors()) == 21


@pytest.mark.parametrize(
    ("scales", "text"),
    [
        ((0, 90, 1), r"from 2\^0 to 2\^90: powers are -8 to 5, ascending"),
        ((1, 0, 1), r"from 2\^1 to 2\^0: powers are -8 to 5, ascending"),
        ((float("nan"), 0, 1), "powers are -8 to 5"),
        ((0, 1, 0), "step 0: more than 0"),
        ((0, 1, 1e-9), "step 1e-09: more than 0, and fewer than 64 scales"),
    ],
)
def test_scales_are_finite_and_few(scales: tuple[float, float, float], text: str) -> None:
    with pytest.raises(ModelFolderError, match=text):
        checked(*scales)


def test_stages_are_told_apart(refined: Manifest) -> None:
    assert [stage.name for stage in refined.view_stages] == ["trunk", "score"]
    assert [stage.name for stage in refined.window_stages] == ["mask"]
    assert refined.stage("score") is refined.stages[1]
    with pytest.raises(KeyError):
        refined.stage("depth")
    mask = refined.stage("mask")
    assert (mask.with_role("map"), mask.with_role("image")) == (["skips"], [])
    both = replace(mask, outputs={"more": TensorSpec("map", "float32", ("n",)), **mask.outputs})
    assert both.with_role("map") == ["skips", "more"]


def test_the_coarse_form_is_a_model_of_its_own(refined: Manifest, refined_folder: Path) -> None:
    assert (refined.mask_size, list(refined.stage("mask").inputs)) == (64, ["skips", "locations"])
    coarse = refined.coarse_form()
    assert (coarse.name, coarse.mask_size, coarse.coarse) == ("squares, coarse", 16, None)
    files = [stage.file for stage in coarse.stages]
    assert files == ["coarse_trunk.onnx", "score.onnx", "coarse_mask.onnx"]
    assert [stage.name for stage in coarse.stages] == [stage.name for stage in refined.stages]
    same = replace(coarse, name=refined.name, grids=refined.grids, stages=refined.stages)
    assert replace(same, coarse=refined.coarse) == refined
    with pytest.raises(ModelFolderError, match=r"squares, coarse has no refinement.*--coarse"):
        coarse.coarse_form()


def test_files_are_those_of_both_forms(refined: Manifest, refined_folder: Path) -> None:
    assert set(refined.files()) == {path.name for path in refined_folder.glob("*.onnx")}
    assert len(refined.coarse_form().files()) == 3
