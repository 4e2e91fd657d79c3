"""Annotations: what can be understood of one is kept, what is wrong is named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmask.coco.annotations import full_mask
from deepmask.coco.reader import read_coco
from tests.coco.changed import IMAGE, OBJECT, Changed, Drawn, Json, read, read_one
from tests.evaluate.scenes import write


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"image_id": 99}, "image", "its image 99 is not in the file"),
        ({"image_id": [1]}, "image", "its image [1] is not in the file"),
        ({"image_id": None}, "image", "its image null is not in the file"),
        ({"bbox": None, "segmentation": [[1, 2]]}, "box", "bbox must be four finite numbers"),
        ({"bbox": None, "segmentation": None}, "box", "not null"),
        ({"bbox": [1, 2, 3], "segmentation": []}, "box", "numbers x, y, width, height, not [1, 2"),
        ({"bbox": "1234", "segmentation": 5}, "box", "not '1234', and segmentation is neither"),
        ({"bbox": [1, 2, 0, 5], "segmentation": []}, "empty", "bbox [1, 2, 0, 5] is empty"),
        ({"bbox": [5000, 2, 3, 5], "segmentation": None}, "empty", "is empty, or outside its"),
        ({"segmentation": []}, "outline", "has a box but no outline"),
        ({"segmentation": "damaged"}, "outline", "neither a list of polygons nor an RLE"),
        ({"segmentation": [[1, 2, 3, 4, math.nan, 6]]}, "outline", "no number or beyond"),
        ({"segmentation": [[-9, -9, -5, -9, -5, -5]]}, "mismatch", "are of different places"),
        (
            {"segmentation": [[-9, -9, -5, -9, -5, -5]], "bbox": [-10, -10, 30, 30]},
            "outline",
            "has no pixel",
        ),
        (
            {"segmentation": {"size": [1, 1], "counts": [1]}},
            "outline",
            "has size [1, 1], the image has",
        ),
        ({"category_id": "cat"}, "category", "category_id is 'cat'"),
        ({"bbox": None, "segmentation": None, "iscrowd": 1}, "crowd", "not null"),
    ],
)
def test_what_cannot_be_used_is_named_and_ignored(
    changed: Changed, change: Json, kind: str, text: str
) -> None:
    found = changed(change)
    (problem,) = found.problems
    (ignored,) = found.ignored
    assert problem.kind == ignored.reason == kind
    assert problem.effect == "left out"
    assert text in problem.text
    assert len(str(problem)) < 400
    assert problem.annotation == ignored.annotation == 5
    assert len(found.instances) == 17
    if kind == "image":
        assert ignored.image is None
    else:
        assert min(ignored.boxes[0][2:]) > 0
        assert found.unknown_by_image()[2] == list(ignored.boxes)


@pytest.mark.parametrize("entry", [5, None, [], "x"])
def test_what_is_no_annotation_is_named(
    content: Json, drawn: Drawn, tmp_path: Path, entry: Any
) -> None:
    content["annotations"][4] = entry
    found = read(content, drawn, tmp_path)
    (problem,) = found.problems
    assert "an annotation without a whole number as its id" in str(problem)
    assert [(left.reason, left.image) for left in found.ignored] == [("id", None)]
    assert len(found.instances) == 17


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"id": math.inf}, "id", "id is inf, not a whole number"),
        ({"id": None}, "id", "id is null, not a whole number"),
        ({"id": "five"}, "id", "id is 'five', not a whole number"),
        ({"id": True}, "id", "id is True, not a whole number"),
        ({"bbox": [1, 2, 3]}, "box", "bbox [1, 2, 3] is not x, y, width, height: the outline's"),
        ({"bbox": [1, 2, 3, -4]}, "box", "bbox [1, 2, 3, -4] is not x, y, width, height"),
        ({"bbox": [1, 2, 10**400, 5]}, "box", "is not x, y, width, height"),
        ({"bbox": [1, math.nan, 3, 4]}, "box", "bbox [1, nan, 3, 4] is not"),
        ({"bbox": [1, 2, 3, None]}, "box", "bbox [1, 2, 3, None] is not"),
        ({"bbox": "1234"}, "box", "bbox '1234' is not"),
        ({"bbox": [1, 2, 0, 5]}, "box", "bbox [1, 2, 0, 5] is empty"),
        ({"bbox": [5000, 2, 3, 5]}, "box", "is empty, or outside its"),
        ({"area": -1}, "area", "area -1 is not square pixels: the mask's is taken"),
        ({"area": 10**400}, "area", "area 1000"),
        ({"area": None}, "area", "area null is not square pixels"),
        ({"area": "x"}, "area", "area 'x' is not square pixels"),
        ({"area": 0}, "area", "area 0 is not near its mask's"),
        ({"area": 1e6}, "area", "is not near its mask's"),
        ({"iscrowd": "maybe"}, "crowd", "iscrowd is 'maybe', neither 0 nor 1: taken for 0"),
        ({"iscrowd": 2}, "crowd", "iscrowd is 2, neither"),
        ({"iscrowd": 1, "segmentation": "damaged"}, "crowd", "segmentation is neither"),
    ],
)
def test_what_can_be_mended_is_named_and_kept(
    changed: Changed, change: Json, kind: str, text: str
) -> None:
    before = changed({})
    found = changed(change)
    (problem,) = found.problems
    assert text in problem.text
    assert (problem.kind, problem.effect) == (kind, "mended")
    assert "image 2: " in str(problem)
    assert len(found.instances) == 18
    assert not found.ignored
    item, sound = found.instances[4], before.instances[4]
    assert np.allclose(item.box, sound.box, atol=1.01)
    if not item.crowd:
        assert item.area == pytest.approx(sound.area, rel=0.1)
        assert np.array_equal(full_mask(item), full_mask(sound))


def test_repeated_ids_cost_nothing(changed: Changed) -> None:
    found = changed({"id": 2})
    (problem,) = found.problems
    assert (problem.kind, problem.effect) == ("repeated", "note")
    assert "used before" in problem.text
    assert len(found.instances) == len({item.id for item in found.instances}) == 18


def test_a_bad_part_of_an_outline_costs_that_part(changed: Changed) -> None:
    square = [40, 50, 60, 50, 60, 70, 40, 70]
    for bad in ([10, 10, 12, 12], [1, 2, 3, math.nan, 5, 6], "x", [1e9] * 6, []):
        found = changed({"bbox": [40, 50, 20, 20], "area": 400, "segmentation": [square, bad]})
        (problem,) = found.problems
        assert (problem.kind, problem.effect) == ("outline", "mended")
        assert "the rest of it is kept" in problem.text
        assert full_mask(found.instances[4]).sum() == 400


@pytest.mark.parametrize(
    "outline",
    [
        [40, 50, 60, 50, 60, 70, 40, 70],
        [[40, 50], [60, 50], [60, 70], [40, 70]],
        [[[40, 50], [60, 50], [60, 70], [40, 70]]],
    ],
)
def test_outlines_in_other_lists_are_read_as_what_they_mean(changed: Changed, outline: Any) -> None:
    found = changed({"bbox": [40, 50, 20, 20], "area": 400, "segmentation": outline})
    assert not found.problems
    assert full_mask(found.instances[4]).sum() == 400


@pytest.mark.parametrize(
    "change",
    [
        {"iscrowd": 1},
        {"category_id": 12345},
        {"category_id": None},
        {"id": "500", "image_id": "2"},
        {"id": 500.0, "image_id": 2.0},
        {"iscrowd": "0"},
        {"iscrowd": "false"},
        {"iscrowd": False},
        {"iscrowd": None},
        {"iscrowd": "1"},
        {"iscrowd": "True"},
    ],
)
def test_what_is_unusual_but_clear_is_read(changed: Changed, change: Json) -> None:
    found = changed(change)
    assert not found.problems
    assert len(found.instances) == 18


def test_a_missing_area_is_the_masks_or_the_boxes(tmp_path: Path) -> None:
    for box, outline, area in (
        ([1, 2, 3, 4], OBJECT["segmentation"], 12),
        ([1, 2, 9e8, 9e8], OBJECT["segmentation"], 12),
        ([1, 2, 3, 5], None, 15),
    ):
        labels = {"images": [IMAGE], "annotations": [{**OBJECT, "bbox": box}]}
        labels["annotations"][0]["segmentation"] = outline
        del labels["annotations"][0]["area"]
        found = read_coco(write(tmp_path / "one.json", labels))
        assert found.instances[0].area == area
        assert not found.problems


def test_a_set_of_boxes_is_one(tmp_path: Path) -> None:
    """Where no object has an outline none is missing."""
    found = read_one(tmp_path, segmentation=None)
    assert not found.problems
    assert found.instances[0].segmentation is None


@pytest.mark.parametrize("box", [None, []])
def test_a_missing_box_is_the_outlines(tmp_path: Path, box: Any) -> None:
    found = read_one(tmp_path, bbox=box, area=7)
    (item,) = found.instances
    assert [p.text for p in found.problems] == [
        "bbox null is not x, y, width, height: the outline's is taken"
    ] * (box is None)
    assert all(problem.effect == "note" for problem in found.problems)
    assert list(item.box) == [1, 2, 3, 4]
    assert item.area == 7
    (crowd,) = read_one(tmp_path, bbox=box, iscrowd=1).instances
    assert crowd.crowd
    assert list(crowd.box) == [1, 2, 3, 4]
