"""Which locations of `fpn-masks` are an object's (thesis §4.6, appendix A), and their masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from deepmask.networks.mask_levels import CANONICAL, STRIDES, window_cells
from deepmask.networks.whole.look import Objects

#: Rows of windows: head, level, i, j, object (−1 for none).
Rows = npt.NDArray[np.int64]


def nearest_scales(boxes: npt.NDArray[np.float64], heads: Sequence[int]) -> Rows:
    """Return the head (its place in `heads`) and level of each box, (n, 4) → (n, 2).

    Those whose canonical scale is nearest to the larger side in log space.
    """
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    canonical = np.array([[CANONICAL[head] * stride for head in heads] for stride in STRIDES])
    octaves = np.abs(np.log2(np.maximum(sides, 1)[:, None] / canonical.ravel()))
    level, head = np.divmod(octaves.argmin(1), len(heads))
    return np.stack([head, level], 1).astype(np.int64)


def positives(objects: Objects, heads: Sequence[int], height: int, width: int) -> Rows:
    """List the locations within one cell of an object's centre, on its level and for its head.

    A location that is near several objects belongs to the one whose centre is nearest. Returns
    (k, 5) rows, of objects that are not usable too.
    """
    scales = nearest_scales(objects.boxes, heads)
    stride = np.array(STRIDES)[scales[:, 1]]
    centre = (objects.boxes[:, :2] + objects.boxes[:, 2:])[:, ::-1] / 2 / stride[:, None]
    steps = np.arange(-1, 2)
    cells = np.floor(centre).astype(np.int64)[:, :, None] + steps  # (n, 2, 3): rows, columns
    off = np.abs(cells + 0.5 - centre[:, :, None])
    sides = np.array([height, width])[None, :] // stride[:, None]
    fits = (off <= 1) & (cells >= 0) & (cells < sides[:, :, None])
    near = fits[:, 0, :, None] & fits[:, 1, None, :]
    n, a, b = np.nonzero(near)
    distance = np.hypot(off[n, 0, a], off[n, 1, b])
    rows = np.column_stack([scales[n], cells[n, 0, a], cells[n, 1, b], n])
    order = np.argsort(distance, kind="stable")
    _, first = np.unique(rows[order, :4], axis=0, return_index=True)
    chosen: Rows = rows[order[np.sort(first)]]
    return chosen


def background(objects: Objects, near: Rows, heads: int, height: int, width: int) -> Rows:
    """List every location that is none of `near` and in no crowd, (k, 5) rows; (0, 5) if partly.

    Where not every object is labelled, nothing is known to be background.
    """
    if not objects.complete:
        return np.zeros((0, 5), np.int64)
    rows = []
    for level, stride in enumerate(STRIDES):
        free = np.ones((heads, height // stride, width // stride), bool)
        ys = (np.arange(free.shape[1]) + 0.5) * stride
        xs = (np.arange(free.shape[2]) + 0.5) * stride
        for x0, y0, x1, y1 in objects.crowds:
            inside = ((ys >= y0) & (ys <= y1))[:, None] & ((xs >= x0) & (xs <= x1))
            free[:, inside] = False
        mine = near[near[:, 1] == level]
        free[mine[:, 0], mine[:, 2], mine[:, 3]] = False
        head, i, j = np.nonzero(free)
        rows.append(np.stack([head, np.full_like(head, level), i, j, np.full_like(head, -1)], 1))
    return np.concatenate(rows)


def sample(
    objects: Objects,
    heads: Sequence[int],
    canvas: tuple[int, int],
    count: int,
    rng: np.random.Generator,
) -> Rows:
    """Draw `count` locations, objects' to others' as 1 : 3, or fewer objects' and more others'.

    Returns (k, 5) rows, those of objects first.
    """
    near = positives(objects, heads, *canvas)
    taught = near[objects.usable[near[:, 4]]]
    taught = rng.permutation(taught)[: max(1, count // 4)]
    others = background(objects, near, len(heads), *canvas)
    drawn = rng.choice(len(others), min(len(others), count - len(taught)), replace=False)
    return np.concatenate([taught, others[drawn]])


def cut_mask(
    bitmap: npt.NDArray[np.uint8], row: npt.NDArray[np.int64], head: int, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Cut an object's (H, W) bitmap of 0 and 1 out at a window, averaged to size × size samples.

    Returns the share of each sample that is the object's, times 255, and whether the sample's
    centre lies on the canvas: what lies beyond is unknown.
    """
    stride = STRIDES[row[1]]
    side = window_cells(head) * stride
    top, left = (int((2 * at + 1) * stride - side) // 2 for at in row[2:4])
    window = np.zeros((side, side), np.uint8)
    y, x = max(0, -top), max(0, -left)
    part = bitmap[max(0, top) : top + side, max(0, left) : left + side]
    window[y : y + part.shape[0], x : x + part.shape[1]] = part * 255
    share = cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)
    centres = (np.arange(size) + 0.5) * side / size
    seen = [
        (at + centres >= 0) & (at + centres < limit)
        for at, limit in zip((top, left), bitmap.shape, strict=True)
    ]
    return np.asarray(share, np.uint8), seen[0][:, None] & seen[1]
