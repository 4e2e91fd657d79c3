"""`model.json`, value by value, and its stages in a chain: what does not fit is named in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.model.folder import read_manifest
from deepmask.runtime.model.half_recall import HalfRecall
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.parse import parse_manifest

Content = dict[str, Any]
#: What is changed, as keys joined by dots; the new value, or how to make it of the old content.
Rows = list[tuple[str, Any, str]]
GONE = object()


@pytest.fixture
def content(model_folder: Path) -> Content:
    return dict(json.loads((model_folder / "model.json").read_text()))


def put(content: Any, path: str, value: Any) -> None:
    value = value(content) if callable(value) else value
    *way, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    for key in way:
        content = content[key]
    if value is GONE:
        del content[last]
    else:
        content[last] = value


def tensor(role: str, *axes: Any) -> Content:
    dtype = "int64" if role == "locations" else "float32"
    return {"role": role, "dtype": dtype, "axes": list(axes)}


def grid_beside(content: Content, **changes: Any) -> list[Any]:
    return [*content["grids"], {**content["grids"][0], "name": "b", **changes}]


IMAGE = tensor("image", 1, 3, "height", "width")
CAT = {"id": 1, "name": "cat"}
VALUES: Rows = [
    ("name", GONE, "keys missing ['name'], unknown []"),
    ("extra", 1, "keys missing [], unknown ['extra']"),
    ("patch", 64, "unknown ['patch']"),
    ("name", "", "name is '', expected a text"),
    ("precision", 16, "precision is 16, expected a text"),
    ("threshold", 1, "threshold is 1.0, it must lie between 0 and 1"),
    ("threshold", 0, "threshold is 0.0, it must lie between 0 and 1"),
    ("overlap", 1.5, "overlap is 1.5, expected a number from 0 to 1"),
    ("scale_prior", "1", "scale_prior is '1', expected a number from -10 to 10"),
    ("about", [], "about is [], expected an object"),
    ("categories", [], "categories is [], expected a list of 1 to 10000 items"),
    ("categories", "cat", "categories is 'cat', expected a list"),
    ("categories", ["cat"], "a row of categories is 'cat', expected an object"),
    ("categories", [{"id": 1}], "categories: keys missing ['name'], unknown []"),
    ("categories", [{"id": -1, "name": "cat"}], "id is -1, expected a whole number 0 to 21474"),
    ("categories", [{"id": 1, "name": " "}], "the name of a category is blank"),
    ("categories", [CAT, {**CAT, "id": 2}], "two categories have the name 'cat'"),
    ("categories", [CAT, {**CAT, "name": "dog"}], "two categories have the id 1"),
    ("categories", [CAT], "1 categories and 0 stages per boxes, expected both or none"),
    ("label_score", 0.5, "only one of categories and label_score is there, expected both"),
    ("half", [0.3], "half is [0.3], expected an object"),
    ("half", {"fp32": 0.3, "fp16": 0.3}, "half: keys missing ['pictures']"),
    ("half", {"fp32": 2, "fp16": 0.3, "pictures": 5}, "fp32 is 2, expected a number from 0 to 1"),
    ("calibration", [], "calibration is [], expected a list of 1 to 1000 items"),
    ("calibration", [[0.5]], "a pair of calibration is [0.5], expected a list of 2 to 2 items"),
    ("calibration", [[0.5, 1.5]], "value is 1.5, expected a number from 0 to 1"),
    ("calibration", [["0", 0]], "score is '0', expected a number from 0 to 1"),
    ("calibration", [[0.5, 0.1], [0.5, 0.2]], "has [0.5, 0.2] after [0.5, 0.1], expected a high"),
    ("calibration", [[0, 1], [1, 0.9]], "has [1, 0.9] after [0, 1], expected a higher score and"),
    ("coarse", [], "coarse is [], expected an object"),
    ("coarse", {}, "coarse: keys missing ['grids', 'stages'], unknown []"),
    ("views", [], "views is [], expected an object"),
    ("views.border", GONE, "views: keys missing ['border']"),
    ("views.mean", 1, "views: keys missing [], unknown ['mean']"),
    ("views.max_side", 0, "max_side is 0, expected a whole number 1 to"),
    ("views.enlarge", 1, "enlarge is 1, expected true or false"),
    ("views.border", -1, "border is -1, expected a whole number 0 to 8192"),
    ("views.border", 10**9, "border is 1000000000"),
    ("views.border", True, "border is True, expected a whole number"),
    ("views.border", "48", "border is '48', expected a whole number"),
    ("views.fill", 256, "fill is 256, expected a number from 0 to 255"),
    ("views.fill", [1, 2, 3], "fill is [1, 2, 3], expected a number"),
    ("views.multiple", 0, "multiple is 0, expected a whole number 1 to 4096"),
    ("views.scales", [0, 1, 1], "scales is [0, 1, 1], expected an object"),
    ("views.scales.step", GONE, "scales: keys missing ['step']"),
    ("views.scales.stop", 90, "powers are -8 to 5"),
    ("views.scales.step", 0, "step 0: more than 0"),
    ("views.scales.step", 1e-9, "fewer than 64 scales"),
    ("views.scales.stop", 10**400, "stop is 1000"),
]
ALL_GRIDS: Rows = [
    ("grids", {}, "grids is {}, expected a list of 1 to 64 items"),
    ("grids", [], "grids is [], expected a list of 1 to 64 items"),
    ("grids", lambda c: c["grids"] * 65, "expected a list of 1 to 64 items"),
    ("grids", [7], "a row of grids is 7, expected an object"),
    ("grids.0.offset", GONE, "grids: keys missing ['offset']"),
    ("grids.0.offset", 2, "offset is 2, expected a number from 0 to 1"),
    ("grids.0.window", "64", "window is '64', expected a whole number"),
    ("grids.0.window", 0, "window is 0, expected a whole number 1 to 8192"),
    ("grids.0.mask_size", 1, "mask_size is 1, expected a whole number 2 to"),
    ("grids.0.mask_size", 513, "mask_size is 513, expected a whole number 2"),
    ("grids.0.stride", 0, "stride is 0, expected a whole number 1 to 1024"),
    ("grids.0.stride", 32, "windows has stride 32, which must divide the canvas's multiple, 16"),
]
GRIDS: Rows = [
    ("grids", lambda c: c["grids"] * 2, "two grids have the same name: windows, windows"),
    ("grids", lambda c: grid_beside(c, mask_size=8), "the grids' masks have different sizes"),
    ("grids", grid_beside, "expected one tensor with the role locations, (n, 3)"),
    ("grids.0.channel", 1, "grid windows is channel 1 of score, which has 1"),
    ("grids.0.channel", -1, "channel is -1, expected a whole number 0"),
    ("grids.0.score", "depth", "grid windows has no score map 'depth'"),
    ("grids.0.score", "features", "windows has no score map 'features'"),
    ("grids.0.mask_size", 8, "one tensor with the role mask, (n, 8, 8)"),
]
ALL_STAGES: Rows = [
    ("stages", {}, "stages is {}, expected a list of 1 to 16 items"),
    ("stages", [[]], "a row of stages is [], expected an object"),
    ("stages.2", GONE, "expected one tensor with the role mask, (n, 16, 16)"),
    ("stages.2.per", GONE, "stages: keys missing ['per']"),
    ("stages.2.per", "box", "stage mask: per is 'box', expected view, windows or boxes"),
    ("stages.2.name", [], "name is [], expected a text"),
    ("stages.2.name", "trunk", "two stages have the same name: trunk, score"),
    ("stages.2.sha256", "0", "sha256 is not 64 hexadecimal digits"),
]
STAGES: Rows = [
    ("stages.2.sha256", None, "sha256 is None, expected a text"),
    *(
        ("stages.2.file", file, "is not a plain .onnx file name in the model's own folder")
        for file in ("../mask.onnx", "/etc/passwd", "a\\b.onnx", "mask.pt", ".onnx")
    ),
    ("stages.2.inputs", {}, "stage mask: inputs are 0, expected 1 to 64"),
    ("stages.2.outputs", ["mask"], "outputs is ['mask'], expected an object"),
    ("stages.2.inputs", {"a\n": {}}, "tensor is 'a\\n', expected a text"),
    ("stages.1.layers", [], "layers is [], expected an object"),
    (
        *("stages.1.layers", {"head": ["w"]}),
        "stage score: layers of role 'head', expected normalisation, score, hidden_score, skips",
    ),
    ("stages.1.layers", {"score": []}, "score is [], expected a list of 1"),
    ("stages.1.layers", {"score": [1]}, "layer is 1, expected a text"),
]
TENSORS: Rows = [
    (
        *("stages.0.inputs.image.role", "picture"),
        "stage trunk: image: role is 'picture', expected image, locations, boxes, map, score",
    ),
    ("stages.0.inputs.image.role", ["image"], "role is ['image'], exp"),
    ("stages.0.inputs.image.role", GONE, "image: keys missing ['role']"),
    ("stages.0.inputs.image.dtype", "float16", "image: dtype is 'float16', expected float32"),
    ("stages.2.inputs.locations.dtype", "float32", "locations: dtype is 'float32', expected int64"),
    *(
        (
            *("stages.0.outputs.features", tensor("map", 1, axis)),
            f"stage trunk: features: an axis is {axis!r}, expected a size, height, width, height/N",
        )
        for axis in (0, -1, 1.5, True, None, "h", "height/0", "rows/2", "depth", 1 << 31)
    ),
    ("stages.0.outputs.features.axes", [], "axes is [], expected a list of 1 to 8 items"),
    ("stages.0.outputs.features.axes", [1] * 9, "expected a list of 1 to 8 items"),
]
NO_IMAGE = "expected one tensor with the role image, (1, 3, height, width)"
NO_LOCATIONS = "expected one tensor with the role locations, (n, 2)"
NO_MASK = "expected one tensor with the role mask, (n, 16, 16)"
NEW = "expected a new name and one of map,"
CHAIN: Rows = [
    (
        *("stages.2.inputs.code", tensor("map", 1, 8, "rows", "cols")),
        "stage mask reads code, which nothing before it makes",
    ),
    (
        *("stages", lambda c: [c["stages"][index] for index in (1, 0, 2)]),
        "stage score reads features, which nothing before it makes",
    ),
    (
        *("stages", lambda c: [c["stages"][index] for index in (0, 2, 1)]),
        "stage score runs per view, after one that runs on windows",
    ),
    (
        *("stages.1.inputs.features.axes", [1, 9, "height", "width"]),
        "stage score reads features in another form than it has",
    ),
    (
        *("stages.1.outputs.features", tensor("map", 1)),
        f"stage score makes features as map, {NEW} score",
    ),
    ("stages.1.outputs.image", tensor("map", 1), f"score makes image as map, {NEW} score"),
    (
        *("stages.1.outputs.other", tensor("mask", "n", 16, 16)),
        f"stage score makes other as mask, {NEW} score",
    ),
    (
        *("stages.2.outputs.other", tensor("score", 1, 1, "rows", "cols")),
        f"stage mask makes other as score, {NEW} mask",
    ),
    ("stages.1.inputs.more", IMAGE, NO_IMAGE),
    ("stages.0.inputs.image", tensor("image", 1, 1, "height", "width"), NO_IMAGE),
    ("stages.2.inputs.image", IMAGE, "stage mask reads image, which nothing before it makes"),
    (
        *("stages.1.inputs.locations", tensor("locations", "n", 2)),
        "stage score reads locations, which nothing before it makes",
    ),
    ("stages.2.inputs.locations", GONE, f"{NO_LOCATIONS}, in a stage that runs per windows"),
    ("stages.2.inputs.locations", tensor("locations", "n", 3), NO_LOCATIONS),
    ("stages.2.outputs.mask", tensor("mask", "n", 16), NO_MASK),
    ("stages.2.outputs.mask", tensor("mask", "n", 16, 17), NO_MASK),
    ("stages.2.outputs.more", tensor("mask", "n", 16, 16), NO_MASK),
    (
        *("stages.1.outputs.score", tensor("score", 1, "rows", "cols")),
        "grid windows has no score map 'score'",
    ),
    (
        *("stages.1.outputs.score", tensor("score", 1, "rows", "rows", "cols")),
        "grid windows is channel 0 of score, which has rows",
    ),
]


@pytest.mark.parametrize(
    ("form", "path", "value", "text"),
    [
        *(
            ("", *row)
            for row in (*VALUES, *ALL_GRIDS, *GRIDS, *ALL_STAGES, *STAGES, *TENSORS, *CHAIN)
        ),
        *(("coarse", *row) for row in (*ALL_GRIDS, *ALL_STAGES)),
    ],
)
def test_what_is_wrong_is_named(
    refined_folder: Path,
    model_folder: Path,
    tmp_path: Path,
    form: str,
    path: str,
    value: Any,
    text: str,
) -> None:
    content = json.loads(((refined_folder if form else model_folder) / "model.json").read_text())
    put(content[form] if form else content, path, value)
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'model.json'}: ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_optional_keys(content: Content) -> None:
    assert not {"categories", "label_score", "coarse", "calibration"} & set(content)
    assert not any("grids" in stage for stage in content["stages"])
    manifest = parse_manifest(content)
    assert (manifest.categories, manifest.coarse) == (None, None)
    tables = [None, [[0, 0.1], [1, 0.1]]]
    found = [parse_manifest({**content, "calibration": table}).calibration for table in tables]
    assert found == [None, ((0, 0.1), (1, 0.1))]
    half = {"fp32": 0.3, "fp16": 0.298, "pictures": 5}
    assert [parse_manifest({**content, "half": one}).half for one in (None, half)] == [
        None,
        HalfRecall(0.3, 0.298, 5),
    ]


def test_recall_in_float16_holds_if_little_is_lost() -> None:
    assert HalfRecall(0.3367, 0.3362, 50).holds
    assert HalfRecall(0.3, 0.31, 50).holds
    assert not HalfRecall(0.3367, 0.33, 50).holds


def test_stages_may_share_what_they_read(content: Content) -> None:
    """Two read one image, two the locations; a later stage for windows reads an earlier one's."""
    score, mask = content["stages"][1:]
    score["inputs"]["image"] = IMAGE
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
    far = {"name": "far", "score": "far", "offset": 0.5, "stride": 8}
    content["grids"] = [*grid_beside(content, channel=1, window=96), {**first, **far}]
    grids = [(grid.name, grid.channel, grid.offset) for grid in parse_manifest(content).grids]
    assert grids == [("windows", 0, 0.0), ("b", 1, 0.0), ("far", 0, 0.5)]
