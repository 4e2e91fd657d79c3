"""Rank with diversity: near-duplicates of a better proposal move down, none is dropped."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

#: Proposals that are ranked before the list is cut to what was asked for, so that the best 100 of
#: a call for 100 are the best 100 of a call for 1000.
POOL = 1000

#: Proposals whose overlaps with all others are computed at once: they stay within a core's cache.
_BLOCK = 64


def demote_duplicates(
    scores: npt.NDArray[np.float32], boxes: npt.NDArray[np.float64], overlap: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return a new order of N proposals, and their scores in it, descending.

    scores: (N,), descending; boxes: (N, 4) XYWH; overlap: IoU, 0 … 1.
    Best first, each proposal multiplies the score of every later one that overlaps it by more than
    `overlap` with 1 − IoU (Soft-NMS, linear form, Bodla et al. 2017). The windows of a dense
    pyramid find one object many times; those repeats leave the top of the list to other objects.
    """
    rivals = _rivals(boxes, overlap)
    left: list[float] = scores.tolist()
    waiting = [(-score, index) for index, score in enumerate(left)]  # sorted, so a heap
    order, final = [], []
    while waiting:
        negative, best = heappop(waiting)
        if left[best] != -negative:
            continue  # it was demoted since, or ranked
        order.append(best)
        final.append(left[best])
        left[best] = -1.0
        for index, kept in rivals[best]:
            if left[index] > 0:
                left[index] = float(np.float32(left[index] * kept))
                heappush(waiting, (-left[index], index))
    return np.array(order, np.int64), np.array(final, np.float32)


def _rivals(boxes: npt.NDArray[np.float64], overlap: float) -> list[list[tuple[int, float]]]:
    """List for each of N boxes the others of a higher IoU than `overlap`: index and 1 − IoU."""
    rivals: list[list[tuple[int, float]]] = [[] for _ in boxes]
    for start in range(0, len(boxes), _BLOCK):
        iou = _iou(boxes[start : start + _BLOCK], boxes[start:])
        first, second = np.nonzero(iou > overlap)
        kept = (1 - iou[first, second]).tolist()
        pairs = zip((first + start).tolist(), (second + start).tolist(), kept, strict=True)
        for one, other, share in pairs:
            if one < other:
                rivals[one].append((other, share))
                rivals[other].append((one, share))
    return rivals


def _iou(some: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(N, 4) and (M, 4) XYWH → (N, M); empty boxes overlap nothing."""
    left, top, width, height = some.astype(np.float32).T[:, :, None]
    lefts, tops, widths, heights = others.astype(np.float32).T
    shared = np.minimum(left + width, lefts + widths) - np.maximum(left, lefts)
    down = np.minimum(top + height, tops + heights) - np.maximum(top, tops)
    np.maximum(shared, 0, out=shared)
    shared *= np.maximum(down, 0, out=down)
    union = width * height + widths * heights - shared
    iou: npt.NDArray[np.float32] = np.divide(shared, np.maximum(union, 1e-9), out=shared)
    return iou
