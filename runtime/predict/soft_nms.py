"""Rank with diversity: near-duplicates of a better proposal move down, none is dropped."""

from __future__ import annotations

from typing import NamedTuple

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
    edges, other, kept = rivals.edges, rivals.other, rivals.kept
    left = scores.astype(np.float32)  # a copy
    order, final = [], []
    for _ in range(len(left)):
        best = int(left.argmax())  # of equals the first
        score = left.item(best)
        if score <= 0:
            break
        order.append(best)
        final.append(score)
        start, stop = edges[best], edges[best + 1]
        if start < stop:
            left[other[start:stop]] *= kept[start:stop]
        left[best] = -1
    worthless = np.flatnonzero(~np.signbit(left))
    final += [0.0] * len(worthless)
    return np.array([*order, *worthless.tolist()], np.int64), np.array(final, np.float32)


class _Rivals(NamedTuple):
    """The boxes that overlap each box k too much: entries edges[k] to edges[k + 1] of the others.

    other  their indices, int64.
    kept   what is left of their score: 1 − IoU, float32.
    """

    edges: list[int]
    other: npt.NDArray[np.int64]
    kept: npt.NDArray[np.float32]


def _rivals(boxes: npt.NDArray[np.float64], overlap: float) -> _Rivals:
    """Find the others of a higher IoU than `overlap` for each of N boxes, XYWH."""
    count = len(boxes)
    area = boxes[:, 2] * boxes[:, 3]
    by_area = np.argsort(area, kind="stable")
    boxes, area = boxes[by_area], area[by_area]
    # The IoU is at most the quotient of the areas: beyond these, others are too large.
    last = np.searchsorted(area, area / max(0.99 * overlap, 1e-6), side="right")
    some, others, kept = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        end = max(last[stop - 1], stop)
        iou = _iou(boxes[start:stop], boxes[start:end])
        pair = np.flatnonzero(iou > overlap)
        first = pair // iou.shape[1]
        second = pair - first * iou.shape[1]
        ahead = np.flatnonzero(second > first)  # each pair once, and no box with itself
        some.append(by_area[first[ahead] + start])
        others.append(by_area[second[ahead] + start])
        kept.append(1 - iou.take(pair[ahead]))
    one, other = np.concatenate(some), np.concatenate(others)
    one, other = np.concatenate([one, other]), np.concatenate([other, one])
    by_box = np.argsort(one.astype(np.min_scalar_type(count)), kind="stable")  # by radix
    edges = np.searchsorted(one[by_box], np.arange(count + 1)).tolist()
    share = np.concatenate(kept)
    return _Rivals(edges, other[by_box], np.concatenate([share, share])[by_box])


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
