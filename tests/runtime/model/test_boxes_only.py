"""A model without masks: its grids are anchors, and what does not fit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.model.folder import load_manifest, read_manifest, write_manifest
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.parse import parse_manifest
from deepmask.runtime.validation import ContentError
from tests.runtime.boxes_model import write_boxes_model

Content = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_boxes_model(tmp_path_factory.mktemp("models") / "boxes")


@pytest.fixture
def content(folder: Path) -> Content:
    return dict(json.loads((folder / "model.json").read_text()))


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    manifest = load_manifest(folder)
    assert (manifest.has_masks, manifest.chains, manifest.mask_size) == (False, (), 0)
    assert manifest.scores_a_window == 2
    assert [grid.sides for grid in manifest.grids] == [(32, 32), (64, 64), (32, 128)]
    assert [grid.cells for grid in manifest.grids] == [4, 4, 8]
    assert [grid.delta_channel for grid in manifest.grids] == [0, 0, 4]
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest


def test_windows_may_stay_where_they_are(content: Content) -> None:
    for grid in content["grids"]:
        del grid["delta"], grid["delta_channel"]
    assert {grid.delta for grid in parse_manifest(content).grids} == {None}


def test_stages_for_boxes_tell_the_category(tmp_path: Path) -> None:
    manifest = load_manifest(write_boxes_model(tmp_path / "staged", stages=True))
    assert manifest.scores_a_window == 1
    assert [stage.name for stage in manifest.box_stages] == ["names"]


def _grid(index: int, key: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content["grids"][index].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_grid(2, "window", [32]), "window is [32], expected a list of 2 to 2 items"),
        (_grid(2, "window", [0.5, 8]), "height of a window is 0.5, expected a number from 1 to 81"),
        (_grid(2, "window", [8, "8"]), "width of a window is '8', expected a number"),
        (_grid(2, "delta", None), "only one of delta and delta_channel is there, expected both"),
        (_grid(2, "delta", "near_score"), "far1 has no map of offsets 'near_score'"),
        (_grid(2, "delta_channel", 5), "grid far1 is channels 5 to 8 of far_move, which has 8"),
        (_grid(2, "delta_channel", -1), "delta_channel is -1, expected a whole number 0 to"),
        (_grid(2, "channel", 3), "grid far1 is channels 3 to 4 of far_score, which has 4"),
        (_grid(0, "mask_size", 16), "the grids' masks have different sizes, expected one for all"),
        (
            lambda content: [grid.update(mask_size=16) for grid in content["grids"]],
            "grid near0 has mask_size and delta: the windows of masks are not moved",
        ),
        (
            lambda content: content.update(categories=content["categories"] * 2),
            "two categories have the id 3",
        ),
        (
            lambda content: content["categories"].append({"id": 9, "name": "red"}),
            "grid near0 is channels 0 to 2 of near_score, which has 2",
        ),
    ],
)
def test_what_is_wrong_is_named(
    content: Content, change: Callable[[Content], Any], text: str
) -> None:
    change(content)
    with pytest.raises((ModelFolderError, ContentError)) as caught:
        parse_manifest(content)
    assert text in str(caught.value)


def test_masks_need_their_size(model_folder: Path) -> None:
    content = json.loads((model_folder / "model.json").read_text())
    del content["grids"][0]["mask_size"]
    with pytest.raises(ModelFolderError, match="windows has no mask_size, and stages per windows"):
        parse_manifest(content)
