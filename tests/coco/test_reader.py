"""COCO files: what can be understood is kept, what is wrong is named."""

from __future__ import annotations

import copy
import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmask.coco.annotations import LabelledSet, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco
from deepmask.runtime.io.checksum import sha256_of
from tests.evaluate.scenes import encode, write

Drawn = tuple[Path, Path]
Json = dict[str, Any]
Changed = Callable[[Json], LabelledSet]

IMAGE = {"id": 1, "file_name": "a/1.png", "width": 30, "height": 20}
OBJECT = {
    "id": 5,
    "image_id": 1,
    "category_id": 1,
    "bbox": [1, 2, 3, 4],
    "area": 12,
    "iscrowd": 0,
    "segmentation": [[1, 2, 4, 2, 4, 6, 1, 6]],
}


@pytest.fixture
def content(drawn: Drawn) -> Json:
    """Six pictures with three objects each."""
    labels: Json = json.loads(drawn[0].read_text())
    return labels


def read(content: Any, drawn: Drawn, tmp_path: Path) -> LabelledSet:
    return read_coco(write(tmp_path / "changed.json", content), drawn[1])


@pytest.fixture
def changed(content: Json, drawn: Drawn, tmp_path: Path) -> Changed:
    """Read the drawn set with the fifth object changed."""

    def read_changed(change: Json) -> LabelledSet:
        content["annotations"][4].update(change)
        return read(content, drawn, tmp_path)

    return read_changed


def read_one(tmp_path: Path, **changes: Any) -> LabelledSet:
    """A set of one image and one object, its folder not given."""
    labels = {"images": [IMAGE], "annotations": [{**OBJECT, **changes}]}
    return read_coco(write(tmp_path / "one.json", labels))


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"image_id": 99}, "image", "its image 99 is not in the file"),
        ({"image_id": [1]}, "image", "its image [1] is not in the file"),
        ({"id": math.inf}, "id", "an annotation without a whole number as its id"),
        ({"id": None}, "id", "an annotation without a whole number as its id"),
        ({"id": "five"}, "id", "without a whole number as its id"),
        ({"id": True}, "id", "without a whole number as its id"),
        ({"bbox": [1, 2, 3]}, "box", "bbox must be four finite numbers x, y, width, height, not"),
        ({"bbox": [1, 2, 3, -4]}, "box", "bbox must be four finite numbers"),
        ({"bbox": [1, 2, 10**400, 5]}, "box", "bbox must be four finite numbers"),
        ({"bbox": [1, math.nan, 3, 4]}, "box", "not [1, nan, 3, 4]"),
        ({"bbox": [1, 2, 3, None]}, "box", "not [1, 2, 3, None]"),
        ({"bbox": "1234"}, "box", "not '1234'"),
        ({"bbox": None, "segmentation": [[1, 2]]}, "box", "bbox must be four finite numbers"),
        ({"bbox": None, "segmentation": None}, "box", "not null"),
    ],
)
def test_what_has_no_place_is_named_and_left_out(
    changed: Changed, change: Json, kind: str, text: str
) -> None:
    found = changed(change)
    (problem,) = found.problems
    assert problem.kind == kind
    assert text in problem.text
    assert len(str(problem)) < 400
    assert problem.annotation == (None if kind == "id" else 5)
    assert len(found.annotations) == len(found.instances) == 17


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"bbox": [1, 2, 0, 5]}, "empty", "bbox [1, 2, 0, 5] is empty"),
        ({"bbox": [5000, 2, 3, 5]}, "empty", "is empty, or outside its"),
        ({"segmentation": []}, "outline", "neither a list of polygons nor an RLE"),
        ({"segmentation": [[1, 2, 3, 4, math.nan, 6]]}, "outline", "no number or beyond"),
        (
            {"segmentation": {"size": [1, 1], "counts": [1]}},
            "outline",
            "has size [1, 1], the image has",
        ),
        ({"area": -1}, "area", "area is -1, not square pixels"),
        ({"area": 10**400}, "area", "area is 1000"),
        ({"area": None}, "area", "area is null"),
        ({"bbox": [1, 2, 9e8, 9e8], "area": "x"}, "area", "area is 'x'"),
        ({"category_id": "cat"}, "category", "category_id is 'cat'"),
        ({"id": 2}, "repeated", "used before"),
        ({"iscrowd": 1, "segmentation": "damaged"}, "crowd", "segmentation is neither"),
    ],
)
def test_what_is_flawed_is_named_and_kept_apart(
    changed: Changed, change: Json, kind: str, text: str
) -> None:
    found = changed(change)
    (problem,) = found.problems
    assert text in problem.text
    assert f"annotation {change.get('id', 5)}, image 2: " in str(problem)
    assert len(found.instances) == 17
    flawed = [item for item in found.annotations if item.flaw is not None]
    assert [item.flaw for item in flawed] == [problem.kind] == [kind]
    assert found.annotations.index(flawed[0]) == 4
    assert all(math.isfinite(value) for value in (*flawed[0].box, flawed[0].area))


@pytest.mark.parametrize(
    "change",
    [
        {"iscrowd": 1},
        {"category_id": 12345},
        {"category_id": None},
        {"id": "500", "image_id": "2"},
        {"id": 500.0, "image_id": 2.0},
        {"bbox": ["40", "50.5", 20, 20]},
    ],
)
def test_what_is_unusual_but_clear_is_read(changed: Changed, change: Json) -> None:
    found = changed(change)
    assert not found.problems
    assert len(found.instances) == 18


def test_a_missing_area_is_the_boxes(tmp_path: Path) -> None:
    for box, flaws in (([1, 2, 3, 4], []), ([1, 2, 9e8, 9e8], ["area is 8.1e+17"])):
        labels = {"images": [IMAGE], "annotations": [{**OBJECT, "bbox": box}]}
        del labels["annotations"][0]["area"]
        found = read_coco(write(tmp_path / "one.json", labels))
        assert found.annotations[0].area == box[2] * box[3]
        assert [problem.text[:15] for problem in found.problems] == flaws


@pytest.mark.parametrize("box", [None, []])
def test_a_missing_box_is_the_outlines(tmp_path: Path, box: Any) -> None:
    (item,) = read_one(tmp_path, bbox=box, area=7).instances
    assert list(item.box) == [1, 2, 3, 4]
    assert item.area == 7
    (crowd,) = read_one(tmp_path, bbox=box, iscrowd=1).instances
    assert crowd.crowd
    assert list(crowd.box) == [1, 2, 3, 4]


def test_masks_come_in_all_three_forms(content: Json, drawn: Drawn, tmp_path: Path) -> None:
    image = content["images"][0]
    mask = np.zeros((image["height"], image["width"]), np.uint8, order="F")
    mask[20:60, 30:50] = 1
    packed = encode(mask.astype(bool))
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=2, append=2))).tolist()
    plain = {"size": packed["size"], "counts": runs}
    for segmentation in (packed, plain, [[30, 20, 50, 20, 50, 60, 30, 60]]):
        changed = copy.deepcopy(content)
        changed["annotations"][0] |= {"segmentation": segmentation, "image_id": image["id"]}
        found = read(changed, drawn, tmp_path)
        assert np.array_equal(full_mask(found.instances[0]), mask)


def test_bad_image_entries_are_named(content: Json, drawn: Drawn, tmp_path: Path) -> None:
    images = content["images"]
    images[0]["id"] = math.inf
    images[1]["width"] = 10**9
    images[2]["id"] = images[3]["id"]
    images[4]["file_name"] = "x" * 1000
    images[5]["file_name"] = "\ud800"
    images += [{**images[3], "id": 99}, {**images[3], "id": 100, "file_name": 5}, "image"]
    found = read(content, drawn, tmp_path)
    assert [image.id for image in found.images] == [images[3]["id"], 99]
    expected = (
        ("image", "an image without a whole number as its id: {"),
        ("image", "width and height must be whole numbers from 1 to 30000 pixels, not 10000000"),
        ("image", "used before"),
        ("file", "no file"),
        ("file", "no file"),
        ("image", "file_name 5 is no name, or leaves"),
        ("image", "an image without a whole number as its id: 'image'"),
    )
    for problem, (kind, text) in zip(found.problems, expected, strict=False):
        assert problem.kind == kind
        assert text in problem.text
        assert problem.text.isprintable()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id": "one"}, "an image without a whole number as its id"),
        ({"width": 10**9}, "image 1: width and height must be"),
        ({"height": 0}, "image 1: width and height must be"),
        ({"height": None}, "from 1 to 30000 pixels, not 30 and null"),
        ({"width": 20_000, "height": 20_000}, "more than the 100 megapixels"),
        (
            {"file_name": "../x.png"},
            "image 1: file_name '../x.png' is no name, or leaves the image folder",
        ),
        ({"file_name": "..\\x.png"}, "leaves the image folder"),
        ({"file_name": "/x.png"}, "leaves the image folder"),
        ({"file_name": ""}, "image 1: file_name '' is no name"),
    ],
)
def test_a_set_without_a_usable_image_says_why(tmp_path: Path, changes: Json, text: str) -> None:
    path = write(tmp_path / "x.json", {"images": [{**IMAGE, **changes}], "annotations": []})
    with pytest.raises(LabelError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: no usable image: ")
    assert text in str(caught.value)


def test_missing_pictures_are_problems_of_their_image(
    content: Json, drawn: Drawn, tmp_path: Path
) -> None:
    content["images"][2]["file_name"] = "gone.png"
    found = read(content, drawn, tmp_path)
    assert len(found.images) == 5
    assert "gone.png" in found.problems[0].text
    assert len(found.problems) == 4  # the image and its three annotations
    assert {image.path.parent for image in found.images} == {drawn[1]}
    everything = read_coco(tmp_path / "changed.json")
    assert not everything.problems
    assert everything.images[2].path == Path("gone.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[1, 2]", "not a COCO instances file"),
        ('{"images": []}', "not a COCO instances file"),
        ('{"annotations": []}', "not a COCO instances file"),
        ('{"images": [], "annotations": []}', 'no usable image: its "images" list is empty'),
        ("[" * 100_000, "is nested too deeply"),
        ('{"images": ' + "9" * 5000 + "}", "is not valid JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(LabelError) as caught:
        read_coco(tmp_path / "a.json", tmp_path)
    assert message in str(caught.value)
    assert "a.json: " in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such annotation file"):
        read_coco(tmp_path / "none.json", tmp_path)
    with pytest.raises(LabelError, match="cannot be read"):
        read_coco(tmp_path)


def test_a_byte_order_mark_is_passed_over(drawn: Drawn, tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + drawn[0].read_bytes())
    assert read_coco(tmp_path / "bom.json", drawn[1]).images == read_coco(*drawn).images


def test_the_set_knows_its_name_and_digest(drawn: Drawn) -> None:
    found = read_coco(*drawn)
    assert found.name == "instances.json"
    assert found.digest == sha256_of(drawn[0])


def test_memory_stays_near_the_size_of_the_file(tmp_path: Path) -> None:
    """Polygons are packed while they are parsed: plain lists of floats took five times as much."""
    polygon = [round(value / 7, 2) for value in range(2000)]
    content = {
        "images": [{**IMAGE, "width": 300, "height": 300}],
        "annotations": [{**OBJECT, "id": n, "segmentation": [polygon]} for n in range(300)],
    }
    path = write(tmp_path / "l.json", content)
    tracemalloc.start()
    found = read_coco(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.instances) == 300
    assert peak < 4 * path.stat().st_size
