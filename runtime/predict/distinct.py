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
    first: list[int] = []
    # Block after block: most pictures have them all among the best twenty or forty.
    for start in range(0, min(len(masks), POOL), FIRST):
        if len(first) == FIRST:
            break
        block = list(masks[start : min(start + FIRST, POOL)])
        before = len(first)
        ious = np.nan_to_num(RLEMask.iou_matrix(block, [*(masks[i] for i in first), *block]))
        compared = list(range(before))  # columns of those chosen
        for index, row in enumerate(ious):
            if len(first) < FIRST and not (row[compared] > LIMIT).any():
                first.append(start + index)
                compared.append(before + index)
    rest = np.setdiff1d(np.arange(len(masks)), first)
    order: npt.NDArray[np.int64] = np.concatenate([np.array(first, np.int64), rest])
    return order
