"""Segmentations: what is drawn is COCO's mask, what is none is told."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from deepmask.coco.segmentation import check, encode, tight_box, to_rle
from tests.evaluate.scenes import rectangle

MASK = rectangle(20, 30, (4, 5, 7, 8))
PACKED = coco_mask.encode(np.asfortranarray(MASK, np.uint8))
RUNS = [85, *[8, 12] * 6, 8, 600 - 85 - 7 * 8 - 6 * 12]
FORMS: list[Any] = [
    [[4, 5, 11, 5, 11, 13, 4, 13]],
    [array("d", [4, 5, 11, 5, 11, 13, 4, 13])],
    PACKED,
    {**PACKED, "counts": PACKED["counts"].decode()},
    {"size": [20, 30], "counts": RUNS},
    {"size": [20, 30], "counts": array("q", RUNS)},
]


@pytest.mark.parametrize("segmentation", FORMS)
def test_every_form_is_the_same_mask(segmentation: Any) -> None:
    assert to_rle(segmentation, 20, 30) == encode(segmentation, 20, 30) == PACKED
    assert tight_box(segmentation, 20, 30) == (4, 5, 7, 8)


@given(st.integers(1, 40), st.integers(1, 40), st.randoms(use_true_random=False))
def test_masks_survive(height: int, width: int, chance: Any) -> None:
    mask = np.array([[chance.random() < 0.4 for _ in range(width)] for _ in range(height)])
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert np.array_equal(coco_mask.decode(to_rle(rle, height, width)), mask)


@pytest.mark.parametrize(
    ("segmentation", "text"),
    [
        (None, "is neither a list of polygons nor an RLE"),
        ([], "is neither a list of polygons nor an RLE"),
        ("x", "is neither a list of polygons nor an RLE"),
        ([[1, 2, 3, 4]], "not a list of three or more x, y pairs"),
        ([[1, 2, 3, 4, 5, 6, 7]], "not a list of three or more x, y pairs"),
        ([5], "not a list of three or more x, y pairs"),
        ([[1, 2, 3, 4, None, 6]], "no number or beyond 100000 px"),
        ([[0, 0, 1, 0, 1, 1]] * 2001, "has 2001 polygons, at most 2000"),
        ([[0, 0, 9e4, 9e4] * 4], "has an outline of 720000 px, at most 500000"),
        ({"size": [30, 20], "counts": RUNS}, r"has size \[30, 20\], the image has \[20, 30\]"),
        ({"counts": RUNS}, "has size null, the image has"),
        ({"size": [20, 30], "counts": [1, 2]}, "has runs adding up to 3, not 20 x 30"),
        ({"size": [20, 30], "counts": [601, -1]}, "neither text nor whole numbers"),
        ({"size": [20, 30], "counts": 5}, "neither text nor whole numbers"),
        ({"size": [20, 30], "counts": "zz"}, "is not a COCO RLE of that size"),
        ({"size": [20, 30], "counts": "é"}, "is not a COCO RLE of that size"),
        ({"size": [20, 30], "counts": ""}, "is not a COCO RLE of that size"),
        ([[0, 0, 1e9, 0, 5, 5]], "no number or beyond 100000 px"),
        ([[0, 0, 5, "x", 5, 5]], "no number or beyond 100000 px"),
    ],
)
def test_what_is_no_mask_is_told(segmentation: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check(segmentation, 20, 30)
