"""Convert masks to and from COCO's compressed run lengths; only this file knows the format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask


class Rle(TypedDict):
    """A mask as COCO writes it: [height, width], and counts as ASCII text, column by column."""

    size: list[int]
    counts: str


def from_counts(counts: npt.NDArray[np.uint32], height: int, width: int) -> RLEMask:
    """Make a mask of its runs in column order, background first; they sum to height · width."""
    return RLEMask.from_counts(counts, (height, width), validate_sum=False)


def to_coco(mask: RLEMask) -> Rle:
    """Return the dictionary for COCO's JSON: `counts` is str, where pycocotools has bytes."""
    encoded = mask.to_dict()
    height, width = encoded["size"]
    return {"size": [int(height), int(width)], "counts": encoded["counts"].decode("ascii")}


def to_array(mask: RLEMask) -> npt.NDArray[np.bool_]:
    """Return the mask as a bool array, (height, width)."""
    array: npt.NDArray[np.bool_] = mask.to_array().astype(np.bool_)
    return array


def areas(masks: Sequence[RLEMask]) -> npt.NDArray[np.int64]:
    """Count the pixels of each mask: (N,) int64."""
    return np.array([mask.area() for mask in masks], np.int64)


def boxes_xywh(masks: Sequence[RLEMask]) -> npt.NDArray[np.float64]:
    """Return tight boxes (N, 4): x, y, width, height in pixels; four zeros for an empty mask."""
    return np.array([mask.bbox() for mask in masks], np.float64).reshape(-1, 4)


def ious(masks: Sequence[RLEMask], others: Sequence[RLEMask]) -> npt.NDArray[np.float64]:
    """Return the IoU of each of N masks with each of M others, (N, M); empty ones have 0."""
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    matrix = RLEMask.iou_matrix(list(masks), list(others))
    found = np.asarray(matrix, np.float64).reshape(len(masks), len(others))
    return np.nan_to_num(found)


def overlaps(mask: RLEMask, others: Sequence[RLEMask]) -> npt.NDArray[np.int64]:
    """Count the pixels that `mask` shares with each of `others`: (N,) int64."""
    if not others:
        return np.empty(0, np.int64)
    iou = ious([mask], others)[0]
    total = mask.area() + areas(others)
    shared: npt.NDArray[np.int64] = np.rint(iou * total / (1 + iou)).astype(np.int64)
    return shared
