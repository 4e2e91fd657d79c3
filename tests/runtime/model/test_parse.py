"""`model.json`, value by value: what is not as it must be is named in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.model.folder import read_manifest
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.parse import parse_manifest

Content = dict[str, Any]
Change = Callable[[Content], object]


@pytest.fixture
def content(model_folder: Path) -> Content:
    """The description of the model that finds squares."""
    return dict(json.loads((model_folder / "model.json").read_text()))


@pytest.fixture
def refined(refined_folder: Path) -> Content:
    """The same of one with a coarse form."""
    return dict(json.loads((refined_folder / "model.json").read_text()))


def refusal(folder: Path, content: Content) -> str:
    """What is said of a description: one line that begins with the file's path."""
    path = folder / "model.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ModelFolderError) as caught:
        read_manifest(folder)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def tensor(role: str, *axes: int | str) -> Content:
    return {
        "role": role,
        "dtype": "int64" if role == "locations" else "float32",
        "axes": list(axes),
    }


VALUES: list[tuple[Change, str]] = [
    (lambda c: c.pop("name"), "keys missing ['name'], unknown []"),
    (lambda c: c.update(extra=1), "keys missing [], unknown ['extra']"),
    (lambda c: c.update(patch=64), "unknown ['patch']"),
    (lambda c: c.update(name=""), "name is '', expected a text"),
    (lambda c: c.update(precision=16), "precision is 16, expected a text"),
    (lambda c: c.update(threshold=1), "threshold is 1.0, it must lie between 0 and 1"),
    (lambda c: c.update(threshold=0), "threshold is 0.0, it must lie between 0 and 1"),
    (lambda c: c.update(overlap=1.5), "overlap is 1.5, expected a number from 0 to 1"),
    (lambda c: c.update(scale_prior="1"), "scale_prior is '1', expected a number from -10 to 10"),
    (lambda c: c.update(about=[]), "about is [], expected an object"),
    (lambda c: c.update(categories=[]), "categories is [], expected a list of 1 to 10000 items"),
    (lambda c: c.update(categories="cat"), "categories is 'cat', expected a list"),
    (lambda c: c.update(categories=["cat", 3]), "category is 3, expected a text"),
    (lambda c: c.update(coarse=[]), "coarse is [], expected an object"),
    (lambda c: c.update(coarse={}), "coarse: keys missing ['grids', 'stages'], unknown []"),
    (lambda c: c.update(views=[]), "views is [], expected an object"),
    (lambda c: c["views"].pop("border"), "views: keys missing ['border']"),
    (lambda c: c["views"].update(mean=1), "views: keys missing [], unknown ['mean']"),
    (lambda c: c["views"].update(max_side=0), "max_side is 0, expected a whole number 1 to"),
    (lambda c: c["views"].update(enlarge=1), "enlarge is 1, expected true or false"),
    (lambda c: c["views"].update(border=-1), "border is -1, expected a whole number 0 to 8192"),
    (lambda c: c["views"].update(border=10**9), "border is 1000000000"),
    (lambda c: c["views"].update(border=True), "border is True, expected a whole number"),
    (lambda c: c["views"].update(border="48"), "border is '48', expected a whole number"),
    (lambda c: c["views"].update(fill=256), "fill is 256, expected a number from 0 to 255"),
    (lambda c: c["views"].update(fill=[1, 2, 3]), "fill is [1, 2, 3], expected a number"),
    (lambda c: c["views"].update(multiple=0), "multiple is 0, expected a whole number 1 to 4096"),
    (lambda c: c["views"].update(scales=[0, 1, 1]), "scales is [0, 1, 1], expected an object"),
    (lambda c: c["views"]["scales"].pop("step"), "scales: keys missing ['step']"),
    (lambda c: c["views"]["scales"].update(stop=90), "powers are -8 to 5"),
    (lambda c: c["views"]["scales"].update(step=0), "step 0: more than 0"),
    (lambda c: c["views"]["scales"].update(step=1e-9), "fewer than 64 scales"),
    (lambda c: c["views"]["scales"].update(stop=10**400), "stop is 1000"),
]
GRIDS: list[tuple[Change, str]] = [
    (lambda c: c.update(grids={}), "grids is {}, expected a list of 1 to 64 items"),
    (lambda c: c.update(grids=[]), "grids is [], expected a list of 1 to 64 items"),
    (lambda c: c.update(grids=c["grids"] * 65), "expected a list of 1 to 64 items"),
    (lambda c: c.update(grids=[7]), "a row of grids is 7, expected an object"),
    (lambda c: c["grids"][0].pop("offset"), "grids: keys missing ['offset']"),
    (lambda c: c["grids"][0].update(offset=2), "offset is 2, expected a number from 0 to 1"),
    (lambda c: c["grids"][0].update(window="64"), "window is '64', expected a whole number"),
    (lambda c: c["grids"][0].update(window=0), "window is 0, expected a whole number 1 to 8192"),
    (lambda c: c["grids"][0].update(mask_size=1), "mask_size is 1, expected a whole number 2 to"),
    (lambda c: c["grids"][0].update(mask_size=513), "mask_size is 513, expected a whole number 2"),
    (lambda c: c["grids"][0].update(stride=0), "stride is 0, expected a whole number 1 to 1024"),
    (
        lambda c: c["grids"][0].update(stride=32),
        "grid windows has stride 32, which must divide the canvas's multiple, 16",
    ),
    (
        lambda c: c.update(grids=c["grids"] * 2),
        "two grids have the same name: windows, windows",
    ),
    (
        lambda c: c["grids"].append({**c["grids"][0], "name": "b", "mask_size": 8}),
        "the grids' masks have different sizes",
    ),
    (
        lambda c: c["grids"].append({**c["grids"][0], "name": "b"}),
        "expected one tensor with the role locations, (n, 3)",
    ),
    (lambda c: c["grids"][0].update(channel=1), "grid windows is channel 1 of score, which has 1"),
    (lambda c: c["grids"][0].update(channel=-1), "channel is -1, expected a whole number 0"),
    (lambda c: c["grids"][0].update(score="depth"), "grid windows has no score map 'depth'"),
    (lambda c: c["grids"][0].update(score="features"), "windows has no score map 'features'"),
    (lambda c: c["grids"][0].update(mask_size=8), "one tensor with the role mask, (n, 8, 8)"),
]
STAGES: list[tuple[Change, str]] = [
    (lambda c: c.update(stages={}), "stages is {}, expected a list of 1 to 16 items"),
    (lambda c: c.update(stages=[[]]), "a row of stages is [], expected an object"),
    (lambda c: c["stages"].pop(), "expected one tensor with the role mask, (n, 16, 16)"),
    (lambda c: c["stages"][2].pop("per"), "stages: keys missing ['per']"),
    (lambda c: c["stages"][2].update(per="box"), "stage mask: per is 'box', expected view or wind"),
    (lambda c: c["stages"][2].update(name=[]), "name is [], expected a text"),
    (lambda c: c["stages"][2].update(name="trunk"), "two stages have the same name: trunk, score"),
    (lambda c: c["stages"][2].update(sha256="0"), "sha256 is not 64 hexadecimal digits"),
    (lambda c: c["stages"][2].update(sha256=None), "sha256 is None, expected a text"),
    *(
        (
            lambda c, file=file: c["stages"][2].update(file=file),
            "is not a plain .onnx file name in the model's own folder",
        )
        for file in ("../mask.onnx", "/etc/passwd", "a\\b.onnx", "mask.pt", ".onnx")
    ),
    (lambda c: c["stages"][2].update(inputs={}), "stage mask: inputs are 0, expected 1 to 64"),
    (lambda c: c["stages"][2].update(outputs=["mask"]), "outputs is ['mask'], expected an object"),
    (lambda c: c["stages"][2].update(inputs={"a\n": {}}), "tensor is 'a\\n', expected a text"),
    (lambda c: c["stages"][1].update(layers=[]), "layers is [], expected an object"),
    (
        lambda c: c["stages"][1].update(layers={"head": ["w"]}),
        "stage score: layers of role 'head', expected normalisation, score, hidden_score, skips",
    ),
    (lambda c: c["stages"][1].update(layers={"score": []}), "score is [], expected a list of 1"),
    (lambda c: c["stages"][1].update(layers={"score": [1]}), "layer is 1, expected a text"),
]
TENSORS: list[tuple[Change, str]] = [
    (
        lambda c: c["stages"][0]["inputs"]["image"].update(role="picture"),
        "stage trunk: image: role is 'picture', expected image, locations, map, score, mask",
    ),
    (lambda c: c["stages"][0]["inputs"]["image"].update(role=["image"]), "role is ['image'], exp"),
    (lambda c: c["stages"][0]["inputs"]["image"].pop("role"), "image: keys missing ['role']"),
    (
        lambda c: c["stages"][0]["inputs"]["image"].update(dtype="float16"),
        "image: dtype is 'float16', expected float32",
    ),
    (
        lambda c: c["stages"][2]["inputs"]["locations"].update(dtype="float32"),
        "locations: dtype is 'float32', expected int64",
    ),
    *(
        (
            lambda c, axis=axis: c["stages"][0]["outputs"].update(features=tensor("map", 1, axis)),
            f"stage trunk: features: an axis is {axis!r}, expected a size, height, width, height/N",
        )
        for axis in (0, -1, 1.5, True, None, "h", "height/0", "rows/2", "depth", 1 << 31)
    ),
    (
        lambda c: c["stages"][0]["outputs"]["features"].update(axes=[]),
        "axes is [], expected a list of 1 to 8 items",
    ),
    (
        lambda c: c["stages"][0]["outputs"]["features"].update(axes=[1] * 9),
        "expected a list of 1 to 8 items",
    ),
]


@pytest.mark.parametrize(("change", "text"), [*VALUES, *GRIDS, *STAGES, *TENSORS])
def test_what_is_wrong_is_named(
    tmp_path: Path, content: Content, change: Change, text: str
) -> None:
    change(content)
    assert text in refusal(tmp_path, content)


@pytest.mark.parametrize(("change", "text"), [*GRIDS[:12], *STAGES[:8]])
def test_what_is_wrong_with_the_coarse_form_is_named(
    tmp_path: Path, refined: Content, change: Change, text: str
) -> None:
    """Its grids and stages are checked as the others are, whether it is asked for or not."""
    change(refined["coarse"])
    assert text in refusal(tmp_path, refined)


def test_optional_keys(content: Content) -> None:
    """A class-agnostic model without refinement says nothing of categories or a coarse form."""
    assert not {"categories", "coarse"} & set(content)
    manifest = parse_manifest(content)
    assert (manifest.categories, manifest.coarse) == (None, None)
    named = parse_manifest({**content, "categories": ["cat", "dog"]})
    assert named.categories == ("cat", "dog")
