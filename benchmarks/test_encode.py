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
from benchmarks.scenes import COCO, draw_masks
from deepmask.runtime.io import rle
from deepmask.runtime.predict.paste import Placement, decode_mask, excess, interpolate
from deepmask.runtime.predict.run_lengths import mask_runs
from deepmask.runtime.views.geometry import bilinear_taps, mask_coordinate

COUNT = 1000
THRESHOLD = float(np.log(0.2 / 0.8))

Logits = npt.NDArray[np.float32]


def full_canvas(logits: Logits, placement: Placement) -> list[str]:
    """Paste every mask on a canvas of the image's size; encode it by pycocotools."""
    counts = []
    for index, one in enumerate(logits):
        canvas = decode_mask(one, THRESHOLD, placement, index)
        encoded = coco_mask.encode(np.asfortranarray(canvas.view(np.uint8)))
        counts.append(encoded["counts"].decode("ascii"))
    return counts


def window_library(logits: Logits, placement: Placement) -> list[str]:
    """Paste every mask in its window only; encode it and pad its runs by rlemasklib."""
    (tops, bottoms), (lefts, rights) = placement.extent_y(), placement.extent_x()
    size, counts = placement.grid.mask_size, []
    for index, one in enumerate(logits):
        top, bottom = int(tops[index]), int(bottoms[index])
        left, right = int(lefts[index]), int(rights[index])
        ratio_y, ratio_x = placement.ratio_y[index], placement.ratio_x[index]
        rows = mask_coordinate(
            np.arange(top, bottom), placement.row[index], ratio_y, placement.grid
        )
        cols = mask_coordinate(
            np.arange(left, right), placement.col[index], ratio_x, placement.grid
        )
        along_x = interpolate(excess(one, THRESHOLD).T, *bilinear_taps(cols, size))
        turned = np.ascontiguousarray(along_x.T)
        window = interpolate(turned, *bilinear_taps(rows, size)) > 0
        mask = RLEMask.from_array(np.asfortranarray(window.view(np.uint8)))
        padded = mask.pad(top, placement.height - bottom, left, placement.width - right)
        counts.append(rle.to_coco(padded)["counts"])
    return counts


def runtime_runs(logits: Logits, placement: Placement) -> list[str]:
    """Solve for the ends of runs, as the runtime does, without visiting a pixel."""
    runs = mask_runs(logits, THRESHOLD, placement)
    masks = [rle.from_counts(counts, placement.height, placement.width) for counts in runs]
    return [rle.to_coco(mask)["counts"] for mask in masks]


WAYS: dict[str, Callable[[Logits, Placement], list[str]]] = {
    "full canvas, pycocotools": full_canvas,
    "window, rlemasklib": window_library,
    "run ends, runtime/runs.py": runtime_runs,
}


@pytest.mark.benchmark(group="encode")
@pytest.mark.parametrize("way", WAYS)
def test_encode(recorded: BenchmarkFixture, way: str) -> None:
    """Time each way; all three give the same text."""
    logits, placement = draw_masks(COUNT, COCO.height, COCO.width)
    found = measure(recorded, lambda: WAYS[way](logits, placement), budget=4)
    assert found[0] == runtime_runs(logits, placement)
    recorded.extra_info |= {"way": way, "masks": COUNT}
