"""Encode a thousand masks: on full canvases, window by window, and without their pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask
from pytest_benchmark.fixture import BenchmarkFixture
from rlemasklib import RLEMask

from benchmarks.measure import measure
from benchmarks.scenes import COCO, Size, draw_masks
from deepmask.runtime.io import rle
from deepmask.runtime.predict.encode import encode_masks
from deepmask.runtime.views.geometry import knot_fraction, mask_coordinate, window_extent

COUNT = 1000
THRESHOLD = float(np.log(0.2 / 0.8))

Logits = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.float64]


def full_canvas(logits: Logits, boxes: Boxes, size: Size) -> list[str]:
    """Paste every mask on a canvas of the image's size; encode it by pycocotools."""
    counts = []
    for one, box in zip(logits, boxes, strict=True):
        top, left, window = in_window(one, box, size)
        canvas = np.zeros((size.height, size.width), np.uint8)
        canvas[top : top + window.shape[0], left : left + window.shape[1]] = window
        encoded = coco_mask.encode(np.asfortranarray(canvas))
        counts.append(encoded["counts"].decode("ascii"))
    return counts


def window_library(logits: Logits, boxes: Boxes, size: Size) -> list[str]:
    """Paste every mask in its window only; encode it and pad its runs by rlemasklib."""
    counts = []
    for one, box in zip(logits, boxes, strict=True):
        top, left, window = in_window(one, box, size)
        bottom, right = size.height - top - len(window), size.width - left - window.shape[1]
        mask = RLEMask.from_array(np.asfortranarray(window.view(np.uint8)))
        counts.append(rle.to_coco(mask.pad(top, bottom, left, right))["counts"])
    return counts


def runtime_runs(logits: Logits, boxes: Boxes, size: Size) -> list[str]:
    """Solve for the ends of runs, as the runtime does, without visiting a pixel."""
    masks, _ = encode_masks(logits, THRESHOLD, boxes, (size.height, size.width))
    return [rle.to_coco(mask)["counts"] for mask in masks]


def in_window(
    logits: Logits, box: npt.NDArray[np.float64], size: Size
) -> tuple[int, int, npt.NDArray[np.bool_]]:
    """Sample one mask at the image's pixels in its window: first row, first column, the pixels."""
    values, firsts = logits - np.float32(THRESHOLD), []
    for side, limit in ((1, size.width), (0, size.height)):  # columns first
        start, length = box[side], box[side + 2]
        first, stop = (int(end) for end in window_extent(start, length, limit))
        pixels = mask_coordinate(np.arange(first, stop), start, length, len(logits))
        knot = np.clip(np.floor(pixels).astype(np.int64), 0, len(logits) - 2)
        after = knot_fraction(pixels, knot)[:, None]
        values = values.T[knot] * (np.float32(1) - after) + values.T[knot + 1] * after
        firsts.append(first)
    left, top = firsts
    return top, left, values > 0


WAYS: dict[str, Callable[[Logits, Boxes, Size], list[str]]] = {
    "full canvas, pycocotools": full_canvas,
    "window, rlemasklib": window_library,
    "run ends, runtime/runs.py": runtime_runs,
}


@pytest.mark.benchmark(group="encode")
@pytest.mark.parametrize("way", WAYS)
def test_encode(recorded: BenchmarkFixture, way: str) -> None:
    """Time each way; all three give the same text."""
    logits, boxes = draw_masks(COUNT, COCO.height, COCO.width)
    found = measure(recorded, lambda: WAYS[way](logits, boxes, COCO), budget=4)
    assert found[0] == runtime_runs(logits, boxes, COCO)
    recorded.extra_info |= {"way": way, "masks": COUNT}
