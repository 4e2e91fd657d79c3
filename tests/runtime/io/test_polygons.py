"""Polygons keep to their masks, as the readers of this project and of others fill them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from deepmask.coco.segmentation import to_rle
from deepmask.runtime.io.polygons import Ring, area, join, masks_of, outline
from tests.runtime.io.blobs import draw_blob, encoded, iou

SIZE = (90, 120)


def read_back(rings: list[Ring]) -> npt.NDArray[np.bool_]:
    """Fill rings as this project's reader of labels does."""
    rle = to_rle([ring.ravel().tolist() for ring in rings], *SIZE)
    return np.asarray(coco_mask.decode(rle), np.bool_)


def corners(rings: list[Ring]) -> int:
    return sum(map(len, rings))


@given(st.integers(0, 10**6))
def test_polygons_of_any_mask_follow_it(seed: int) -> None:
    mask = draw_blob(seed)
    rings = outline(encoded(mask))
    if not mask.any():
        assert rings == []
        return
    assert iou(read_back(rings), mask) >= 0.97
    assert iou(read_back([join(rings)]), mask) >= 0.97
    inside = np.concatenate(rings)
    assert (inside > 0).all()
    assert (inside < (120, 90)).all()


@given(st.integers(0, 10**6))
def test_other_ways_to_fill_them_give_the_mask_too(seed: int) -> None:
    """Pillow's, as labelme has it, and OpenCV's with corners rounded down, as ultralytics has."""
    mask = draw_blob(seed)
    if mask.sum() < 400:
        return
    rings = outline(encoded(mask))
    by_pillow, by_opencv = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.uint8)
    for ring in rings:
        drawn = Image.new("1", SIZE[::-1])
        ImageDraw.Draw(drawn).polygon([tuple(point) for point in ring], outline=1, fill=1)
        by_pillow |= np.asarray(drawn)
        cv2.fillPoly(by_opencv, [ring.astype(np.int32)], 1)
    assert iou(by_pillow, mask) > 0.95
    assert iou(by_opencv.astype(np.bool_), mask) > 0.95


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((5, 6), (7, 8)), ((0, 90), (0, 120)), ((3, 4), (10, 60)), ((0, 2), (0, 2))],
)
def test_small_and_large_rectangles_are_exact(
    rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    mask = np.zeros(SIZE, np.bool_)
    mask[slice(*rows), slice(*columns)] = True
    rings = outline(encoded(mask))
    assert corners(rings) == 4
    assert (read_back(rings) == mask).all()


def test_a_hole_and_two_parts() -> None:
    mask = np.zeros(SIZE, np.bool_)
    mask[10:60, 10:60] = True
    mask[20:50, 20:50] = False
    mask[70:85, 90:110] = True
    rings = outline(encoded(mask))
    assert [len(ring) for ring in rings] == [4 + 4 + 2, 4]
    assert (read_back(rings) == mask).all()
    assert (read_back([join(rings)]) == mask).all()


def test_pixels_that_touch_at_a_corner_only() -> None:
    mask = np.zeros(SIZE, np.bool_)
    mask[10, 10] = mask[11, 11] = mask[12, 10] = True
    rings = outline(encoded(mask))
    assert (read_back(rings) == mask).all()


def test_few_corners_are_enough() -> None:
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (60, 45), 40, 1, -1)
    rings = outline(encoded(mask.astype(np.bool_)))
    assert corners(rings) <= 20


def test_a_box_has_four_corners_and_is_no_mask() -> None:
    box = np.array([2.5, 3.0, 10.0, 4.25])
    [ring] = outline(box)
    assert ring.tolist() == [[2.5, 3.0], [12.5, 3.0], [12.5, 7.25], [2.5, 7.25]]
    assert area(box) == 43
    with pytest.raises(ValueError, match="the model gives boxes only"):
        masks_of([box])
