"""Rank distinct masks first: what a person looks at shows no object twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

#: The first masks that differ, out of how many, and the IoU up to which two do.
FIRST, POOL, LIMIT = 20, 100, 0.5


def distinct_first(masks: Sequence[RLEMask]) -> npt.NDArray[np.int64]:
    """Return an order of N masks, given best first, that begins with `FIRST` distinct ones.

    Masks too similar to one before them follow after those, in their own order. Only the best
    `POOL` are looked through. Demoting all duplicates this far costs recall of the best 100: a
    duplicate often fits its object better.
    """
    if not masks:
        return np.zeros(0, np.int64)
    pool = list(masks[:POOL])
    ious = np.nan_to_num(RLEMask.iou_matrix(pool, pool))
    first: list[int] = []
    for index, row in enumerate(ious):
        if len(first) < FIRST and not (row[first] > LIMIT).any():
            first.append(index)
    rest = np.setdiff1d(np.arange(len(masks)), first)
    order: npt.NDArray[np.int64] = np.concatenate([np.array(first, np.int64), rest])
    return order
