"""Ranking with diversity: near-duplicates of a better proposal move down, none is dropped."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Proposals that are ranked before the list is cut to what was asked for, so that the best 100 of
#: a call for 100 are the best 100 of a call for 1000.
POOL = 1000


def demote_duplicates(
    scores: npt.NDArray[np.float32], boxes: npt.NDArray[np.float64], overlap: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """A new order of N proposals, and their scores in it, descending.

    scores: (N,), descending; boxes: (N, 4) XYWH; overlap: IoU, 0 … 1.
    Best first, each proposal multiplies the score of every later one that overlaps it by more than
    `overlap` with 1 − IoU (Soft-NMS, linear form, Bodla et al. 2017). The windows of a dense
    pyramid find one object many times; those repeats leave the top of the list to other objects.
    """
    iou = _iou(boxes)
    remaining = scores.copy()
    order = np.empty(len(scores), np.int64)
    final = np.empty_like(scores)
    for rank in range(len(scores)):
        best = int(remaining.argmax())
        order[rank], final[rank] = best, remaining[best]
        remaining[best] = -1.0
        rivals = np.flatnonzero((iou[best] > overlap) & (remaining > 0))
        remaining[rivals] *= 1 - iou[best, rivals]
    return order, final


def _iou(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(N, 4) XYWH → (N, N); empty boxes overlap nothing."""
    left, top, width, height = boxes.astype(np.float32).T
    area = width * height
    across = np.minimum.outer(left + width, left + width) - np.maximum.outer(left, left)
    down = np.minimum.outer(top + height, top + height) - np.maximum.outer(top, top)
    shared = np.maximum(across, 0) * np.maximum(down, 0)
    iou: npt.NDArray[np.float32] = shared / np.maximum(np.add.outer(area, area) - shared, 1e-9)
    return iou
