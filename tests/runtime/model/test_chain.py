"""Stages that do not fit each other or the grids are refused, with the stage named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.parse import parse_manifest

Content = dict[str, Any]
Change = Callable[[Content], object]


@pytest.fixture
def content(model_folder: Path) -> Content:
    """The description of the model that finds squares."""
    return dict(json.loads((model_folder / "model.json").read_text()))


def tensor(role: str, *axes: int | str) -> Content:
    dtype = "int64" if role == "locations" else "float32"
    return {"role": role, "dtype": dtype, "axes": list(axes)}


CHAIN: list[tuple[Change, str]] = [
    (
        lambda c: c["stages"][2]["inputs"].update(code=tensor("map", 1, 8, "rows", "cols")),
        "stage mask reads code, which nothing before it makes",
    ),
    (
        lambda c: c["stages"].insert(0, c["stages"].pop(1)),
        "stage score reads features, which nothing before it makes",
    ),
    (
        lambda c: c["stages"].insert(1, c["stages"].pop(2)),
        "stage score runs per view, after one that runs on windows",
    ),
    (
        lambda c: c["stages"][1]["inputs"]["features"].update(axes=[1, 9, "height", "width"]),
        "stage score reads features in another form than it has",
    ),
    (
        lambda c: c["stages"][1]["outputs"].update(features=tensor("map", 1)),
        "stage score makes features as map, expected a new name and one of map, score",
    ),
    (
        lambda c: c["stages"][1]["outputs"].update(image=tensor("map", 1)),
        "stage score makes image as map, expected a new name and one of map, score",
    ),
    (
        lambda c: c["stages"][1]["outputs"].update(other=tensor("mask", "n", 16, 16)),
        "stage score makes other as mask, expected a new name and one of map, score",
    ),
    (
        lambda c: c["stages"][2]["outputs"].update(other=tensor("score", 1, 1, "rows", "cols")),
        "stage mask makes other as score, expected a new name and one of map, mask",
    ),
    (
        lambda c: c["stages"][1]["inputs"].update(more=tensor("image", 1, 3, "height", "width")),
        "expected one tensor with the role image, (1, 3, height, width)",
    ),
    (
        lambda c: c["stages"][0]["inputs"].update(image=tensor("image", 1, 1, "height", "width")),
        "expected one tensor with the role image, (1, 3, height, width)",
    ),
    (
        lambda c: c["stages"][2]["inputs"].update(image=tensor("image", 1, 3, "height", "width")),
        "stage mask reads image, which nothing before it makes",
    ),
    (
        lambda c: c["stages"][1]["inputs"].update(locations=tensor("locations", "n", 2)),
        "stage score reads locations, which nothing before it makes",
    ),
    (
        lambda c: c["stages"][2]["inputs"].pop("locations"),
        "expected one tensor with the role locations, (n, 2), in a stage that runs per windows",
    ),
    (
        lambda c: c["stages"][2]["inputs"].update(locations=tensor("locations", "n", 3)),
        "expected one tensor with the role locations, (n, 2)",
    ),
    (
        lambda c: c["stages"][2]["outputs"].update(mask=tensor("mask", "n", 16)),
        "expected one tensor with the role mask, (n, 16, 16)",
    ),
    (
        lambda c: c["stages"][2]["outputs"].update(mask=tensor("mask", "n", 16, 17)),
        "expected one tensor with the role mask, (n, 16, 16)",
    ),
    (
        lambda c: c["stages"][2]["outputs"].update(more=tensor("mask", "n", 16, 16)),
        "expected one tensor with the role mask, (n, 16, 16)",
    ),
    (
        lambda c: c["stages"][1]["outputs"].update(score=tensor("score", 1, "rows", "cols")),
        "grid windows has no score map 'score'",
    ),
    (
        lambda c: c["stages"][1]["outputs"].update(
            score=tensor("score", 1, "rows", "rows", "cols")
        ),
        "grid windows is channel 0 of score, which has rows",
    ),
]


@pytest.mark.parametrize(("change", "text"), CHAIN)
def test_what_does_not_fit_is_named(content: Content, change: Change, text: str) -> None:
    change(content)
    with pytest.raises(ModelFolderError) as caught:
        parse_manifest(content)
    assert text in str(caught.value)


def test_stages_may_share_what_they_read(content: Content) -> None:
    """Two read one image, two the locations; a later stage for windows reads an earlier one's."""
    score, mask = content["stages"][1:]
    score["inputs"]["image"] = tensor("image", 1, 3, "height", "width")
    first = {**mask, "name": "code", "outputs": {"sharp": tensor("map", "n", 9)}}
    mask["inputs"] = {"sharp": tensor("map", "n", 9), "locations": tensor("locations", "n", 2)}
    content["stages"].insert(2, first)
    manifest = parse_manifest(content)
    assert [stage.name for stage in manifest.window_stages] == ["code", "mask"]
    mask["inputs"]["locations"] = tensor("locations", "n", 3)
    with pytest.raises(ModelFolderError, match="stage mask reads locations in another form"):
        parse_manifest(content)


def test_several_grids(content: Content) -> None:
    """They may share a score map, each with a channel of its own, or have maps of their own."""
    score, mask = content["stages"][1:]
    score["outputs"] = {
        "score": tensor("score", 1, 2, "rows", "cols"),
        "far": tensor("score", 1, 1, "height/16", "width/16"),
    }
    mask["inputs"]["locations"] = tensor("locations", "n", 3)
    [first] = content["grids"]
    wide = {**first, "name": "wide", "channel": 1, "window": 96}
    far = {**first, "name": "far", "score": "far", "offset": 0.5, "stride": 8}
    content["grids"] = [first, wide, far]
    grids = parse_manifest(content).grids
    assert [(grid.name, grid.channel, grid.offset) for grid in grids] == [
        ("windows", 0, 0.0),
        ("wide", 1, 0.0),
        ("far", 0, 0.5),
    ]
