"""Non-maximum suppression: of boxes that overlap much, the best is kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: IoU with a better one above which an object is shown again, and a detection of the same category
#: left out, as in Fast R-CNN.
NMS = 0.5

#: Boxes that are compared with all that were kept before, at once.
_BLOCK = 64

Boxes = npt.NDArray[np.float64]


def kept_boxes(
    boxes: Boxes, groups: npt.NDArray[np.int64], overlap: float, most: int
) -> npt.NDArray[np.int64]:
    """Return the indices of the boxes that are kept, at most `most`.

    boxes    (N, 4) XYWH, best first; those without width or height are left out.
    groups   (N,): boxes of different groups do not suppress each other.
    overlap  IoU with a better box above which one is left out; 1 keeps all.
    """
    there = np.flatnonzero(boxes[:, 2:].all(axis=1))
    kept = [np.empty(0, np.int64)]
    for group in np.unique(groups[there]).tolist():
        own = there[groups[there] == group]
        kept.append(own[best_of_overlapping(boxes[own], overlap, most)])
    found: npt.NDArray[np.int64] = np.sort(np.concatenate(kept))[:most]
    return found


def best_of_overlapping(boxes: Boxes, overlap: float, most: int) -> npt.NDArray[np.int64]:
    """Return the indices of up to `most` of N boxes that overlap no better one by more.

    boxes  (N, 4) XYWH, best first.
    """
    kept = np.empty(0, np.int64)
    for start in range(0, len(boxes), _BLOCK):
        if len(kept) >= most:
            break
        block = np.arange(start, min(start + _BLOCK, len(boxes)))
        block = block[~(ious(boxes[block], boxes[kept]) > overlap).any(axis=1)]
        rivals = ious(boxes[block], boxes[block]) > overlap
        free = np.ones(len(block), np.bool_)
        for index in range(len(block)):
            if free[index]:
                free[index + 1 :] &= ~rivals[index, index + 1 :]
        kept = np.concatenate([kept, block[free]])
    return kept[:most]


def ious(boxes: Boxes, others: Boxes) -> Boxes:
    """(n, 4) and (m, 4) XYWH → (n, m); empty boxes overlap nothing."""
    boxes = boxes[:, None]
    low = np.maximum(boxes[..., :2], others[:, :2])
    high = np.minimum(boxes[..., :2] + boxes[..., 2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = boxes[..., 2:].prod(axis=2) + others[:, 2:].prod(axis=1) - shared
    found: Boxes = shared / np.maximum(union, 1e-9)
    return found
