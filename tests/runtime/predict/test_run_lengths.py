"""Run lengths of masks: those of the mask drawn pixel by pixel, encoded as pycocotools does."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pycocotools import mask as coco_mask
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.model.manifest import Grid
from deepmask.runtime.predict.run_lengths import mask_runs
from deepmask.runtime.views.geometry import mask_coordinate, window_extent
from deepmask.runtime.views.grids import window_boxes
from deepmask.runtime.views.views import View
from tests.runtime.plain_paste import paste

Boxes = npt.NDArray[np.float64]
Rng = np.random.Generator


def grid_of(window: int, stride: int, mask_size: int, offset: float = 0.0) -> Grid:
    return Grid("windows", "score", 0, stride, window, mask_size, offset)


GRIDS = [
    *(grid_of(224, 16, 56), grid_of(160, 16, 56), grid_of(160, 16, 40), grid_of(64, 16, 7)),
    *(grid_of(32, 16, 2), grid_of(112, 8, 56), grid_of(40, 8, 14, 0.5), grid_of(45, 7, 28, 0.5)),
    grid_of(160, 16, 160),  # refined masks
]


def place(rng: Rng, count: int, height: int, width: int, grid: Grid) -> Boxes:
    factor = 2.0 ** rng.uniform(-6, 3, count)
    h = np.maximum(1, np.rint(factor * height))
    w = np.maximum(1, np.rint(factor * width))
    row = rng.integers(0, np.ceil(h / grid.stride).astype(int) + 1)
    col = rng.integers(0, np.ceil(w / grid.stride).astype(int) + 1)
    views = [View(1.0, 0, 0, y, x, 0, 0) for y, x in zip(h / height, w / width, strict=True)]
    return window_boxes(row, col, [grid] * count, views)


def place_freely(rng: Rng, count: int, height: int, width: int) -> Boxes:
    """Windows of any shape anywhere: far beside the picture, or smaller than a pixel."""
    sides = 2.0 ** rng.uniform(-3, 10, (count, 2))
    corners = rng.uniform(-0.5, 1, (count, 2)) * (np.array([height, width]) + sides)
    return np.hstack([corners, sides])


def draw_logits(rng: Rng, count: int, size: int, kind: str) -> npt.NDArray[np.float32]:
    """Blobs, noise, few levels (many values exactly at the threshold), all in or all out."""
    noise = rng.normal(size=(count, size, size)).astype(np.float32)
    if kind == "blobs":
        return np.stack([cv2.GaussianBlur(one, (0, 0), size / 14) * size / 4 for one in noise])
    if kind == "levels":
        return np.round(noise)
    if kind == "full":
        return np.full_like(noise, 5)
    if kind == "empty":
        return np.full_like(noise, -5)
    return noise


@settings(max_examples=150, deadline=None)
@given(
    *(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 200)),
    *(st.sampled_from(GRIDS), st.booleans()),
    st.sampled_from(["blobs", "noise", "levels", "full", "empty"]),
    st.sampled_from([0.0, -1.3862944, 1.0]),
)
def test_runs_equal_pycocotools_on_the_full_canvas(
    seed: int, height: int, width: int, grid: Grid, free: bool, kind: str, threshold: float
) -> None:
    """Solved run ends against every pixel decoded and encoded: text, area and box, to the pixel."""
    rng = np.random.default_rng(seed)
    size = (height, width)
    boxes = place_freely(rng, 8, *size) if free else place(rng, 8, *size, grid)
    logits = draw_logits(rng, 8, grid.mask_size or 0, kind)
    for index, counts in enumerate(mask_runs(logits, threshold, boxes, size)):
        mask = paste(logits[index], threshold, boxes[index], size)
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        encoded = rle.from_counts(counts, height, width)
        text = {"size": [height, width], "counts": expected["counts"].decode()}
        assert rle.to_coco(encoded) == text
        assert_array_equal(rle.to_array(encoded), mask)
        assert rle.areas([encoded])[0] == mask.sum()
        assert_array_equal(rle.boxes_xywh([encoded])[0], coco_mask.toBbox(expected))


@pytest.mark.parametrize("kind", ["blobs", "noise", "levels"])
def test_float16_has_the_runs_of_its_float32(kind: str) -> None:
    rng = np.random.default_rng(6)
    boxes = place_freely(rng, 60, 90, 110)
    logits = draw_logits(rng, 60, 28, kind).astype(np.float16)
    for threshold in (-0.4, 0.0, 0.5):
        runs = mask_runs(logits, threshold, boxes, (90, 110))
        expected = mask_runs(logits.astype(np.float32), threshold, boxes, (90, 110))
        assert [one.tolist() for one in runs] == [one.tolist() for one in expected]


@pytest.mark.parametrize("pixel", [(0, 0), (0, 39), (29, 0), (29, 39), (13, 21)])
def test_one_pixel_masks(pixel: tuple[int, int]) -> None:
    """One sample set at a scale where a sample is a pixel: one pixel, in corners and inside."""
    boxes = np.array([[-16.0, 0.0, 64.0, 64.0]])
    logits = np.full((1, 64, 64), -1, np.float32)
    logits[0, pixel[0] + 16, pixel[1]] = 1
    mask = paste(logits[0], 0.0, boxes[0], (30, 40))
    assert np.argwhere(mask).tolist() == [list(pixel)]
    [counts] = mask_runs(logits, 0.0, boxes, (30, 40))
    before = pixel[1] * 30 + pixel[0]
    assert counts.tolist() == [before, 1, 1200 - before - 1][: 2 if before == 1199 else 3]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(97, 131), (60, 201)]), st.sampled_from(GRIDS[:2])
)
def test_a_square_in_the_logits_comes_back(seed: int, size: tuple[int, int], grid: Grid) -> None:
    rng = np.random.default_rng(seed)
    height, width = size
    [box] = place(rng, 1, height, width, grid)
    y_start, y_stop = window_extent(box[0], box[2], height)
    x_start, x_stop = window_extent(box[1], box[3], width)
    rows, cols = int(y_stop - y_start), int(x_stop - x_start)
    top = float(y_start + rng.uniform(0.1, 0.4) * rows)
    left = float(x_start + rng.uniform(0.1, 0.4) * cols)
    bottom, right = top + 0.5 * rows, left + 0.5 * cols

    count = grid.mask_size or 0

    def signed(low: float, high: float, start: float, length: float) -> npt.NDArray[np.float64]:
        """Distance into low … high along one axis, in mask samples, at each mask sample."""
        ends = mask_coordinate([low - 0.5, high - 0.5], start, length, count)
        samples = np.arange(count)
        distance: npt.NDArray[np.float64] = np.minimum(samples - ends[0], ends[1] - samples)
        return distance

    along_y = signed(top, bottom, box[0], box[2])
    along_x = signed(left, right, box[1], box[3])
    logits = np.minimum(along_y[:, None], along_x[None, :]).astype(np.float32)
    mask = paste(logits, 0.0, box, size)
    # Corners are rounded by at most a sample, the longer the larger the sample is.
    sample_y, sample_x = box[2:] / grid.mask_size
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    inner = ((y > top + sample_y) & (y < bottom - sample_y))[:, None] & (
        (x > left + sample_x) & (x < right - sample_x)
    )
    outer = ((y > top - 1e-6) & (y < bottom + 1e-6))[:, None] & (
        (x > left - 1e-6) & (x < right + 1e-6)
    )
    assert mask[inner].all()
    assert not mask[~outer].any()


def test_sampling_is_bilinear_and_clamped() -> None:
    rng = np.random.default_rng(8)
    view = View(0.6, 37, 50, 37 / 61, 50 / 83, 0, 0)
    [box] = window_boxes(np.array([2]), np.array([3]), [grid_of(160, 16, 56)], [view])
    logits = rng.normal(size=(56, 56)).astype(np.float32)
    mask = paste(logits, 0.25, box, (61, 83))
    wrong = 0
    for v in range(61):
        for u in range(83):
            y = ((v + 0.5) * 37 / 61 + 80 - 32) * 56 / 160 - 0.5
            x = ((u + 0.5) * 50 / 83 + 80 - 48) * 56 / 160 - 0.5
            inside = -0.5 <= y < 55.5 and -0.5 <= x < 55.5
            y, x = min(max(y, 0), 55), min(max(x, 0), 55)
            i, j = min(int(y), 54), min(int(x), 54)
            a, b = y - i, x - j
            top = (1 - b) * logits[i, j] + b * logits[i, j + 1]
            bottom = (1 - b) * logits[i + 1, j] + b * logits[i + 1, j + 1]
            value = (1 - a) * float(top) + a * float(bottom)
            if abs(value - 0.25) > 1e-5:
                wrong += bool(mask[v, u]) != (inside and value > 0.25)
    assert wrong == 0


def test_overlaps_count_shared_pixels() -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.random((23, 31)) < share for share in (0.0, 0.2, 0.7, 1.0)]
    masks = [RLEMask.from_array(array) for array in arrays]
    for first, array in zip(masks, arrays, strict=True):
        shared = [int((array & other).sum()) for other in arrays]
        assert rle.overlaps(first, masks).tolist() == shared
    assert rle.overlaps(masks[0], []).shape == (0,)
