"""Labelled sets: what they tell of their parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepmask.coco.annotations import (
    Annotation,
    Ignored,
    Image,
    LabelledSet,
    Problem,
    full_mask,
    some_problems,
)

IMAGE = Image(1, Path("a.png"), 30, 20)
ITEM = Annotation(5, IMAGE, 1, False, 12.0, (1.0, 2.0, 3.0, 8.0), [[1, 2, 4, 2, 4, 10, 1, 10]])


def test_instances_are_by_image_and_ignored_ones_are_unknown() -> None:
    crowd = replace(ITEM, id=6, crowd=True, box=(9.0, 9.0, 2.0, 2.0))
    left = Ignored(7, IMAGE, ((4.0, 4.0, 5.0, 5.0),), "outline")
    nowhere = Ignored(8, None, (), "image")
    images = (IMAGE, replace(IMAGE, id=2, path=Path("b.png")))
    found = LabelledSet(images, (ITEM, crowd), ignored=(left, nowhere))
    assert found.objects == (ITEM,)
    assert found.by_image() == {1: [ITEM, crowd], 2: []}
    assert found.unknown_by_image() == {1: [crowd.box, *left.boxes], 2: []}


def test_the_first_problems_are_one_line() -> None:
    problems = [Problem("image", None, number, "is bad") for number in range(1, 6)]
    assert some_problems(problems[:1]) == "image 1: is bad"
    expected = "image 1: is bad; image 2: is bad; and 3 more"
    assert some_problems(problems, 2) == expected


def test_centre_and_side_are_the_boxes() -> None:
    assert ITEM.centre == (2.5, 6.0)
    assert ITEM.side == 8.0


def test_the_mask_is_of_the_whole_image() -> None:
    mask = full_mask(ITEM)
    assert mask.shape == (20, 30)
    assert mask.dtype == np.uint8
    assert (mask.sum(), mask[2:10, 1:4].sum()) == (24, 24)


def test_problems_are_one_line_that_names_what_it_is_about() -> None:
    assert str(Problem("area", 5, 1, "is -1")) == "annotation 5, image 1: is -1"
    assert str(Problem("image", None, 1, "a\nb")) == r"image 1: a\nb"
    assert str(Problem("id", None, None, "no id")) == "no id"
    assert str(Problem("box", 5, 1, "is -1", source="a.xml, object 2")) == "a.xml, object 2: is -1"
