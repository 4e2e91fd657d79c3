"""Which object each window of `fpn-lite` belongs to: targets of all locations, without loops.

An object belongs to the level and slot whose canonical scale is nearest to the larger side of its
box in log space (thesis §4.6), and to the locations near its centre. Around these lies a zone that
is neither object nor background; its inner part still teaches masks and localisation quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepmask.networks.levels import SLOTS, STRIDES
from deepmask.networks.whole.look import Objects

#: (levels, slots): the larger side of the object that sits best in a window, in pixels.
CANONICAL = np.array([[slot.scale * stride for slot in SLOTS] for stride in STRIDES])
#: An object's windows: octaves from the canonical scale, cells from the centre. Every object has
#: one: neighbouring scales are half an octave apart, and no point is farther than ½·√2 cells.
CORE_OCTAVES, CORE_CELLS = 0.25 + 1e-9, 0.75
#: Windows that still mean the object: they learn its mask and how badly they sit.
NEAR_OCTAVES, NEAR_CELLS = 0.6, 1.25
#: Windows that are not background.
SPARED_OCTAVES, SPARED_CELLS = 0.75, 1.6
#: Octaves that weigh as much as a cell when two objects want a window.
OCTAVES_A_CELL = 0.35


@dataclass(frozen=True)
class LevelTargets:
    """Targets of one level; all (slots, h, w)."""

    #: int8: 1 object, 0 background, −1 ignored.
    label: npt.NDArray[np.int8]
    #: int16: index of the object that the window means, −1 for none.
    owner: npt.NDArray[np.int16]
    #: float32: how well the window sits on its owner, 0 to 1; 0 where there is none.
    quality: npt.NDArray[np.float32]


def assign(objects: Objects, height: int, width: int) -> list[LevelTargets]:
    """Make the targets of every level of a height × width canvas (multiples of 128)."""
    return [_assign_level(objects, level, height, width) for level in range(len(STRIDES))]


def _assign_level(objects: Objects, level: int, height: int, width: int) -> LevelTargets:
    stride = STRIDES[level]
    ys = (np.arange(height // stride) + 0.5) * stride
    xs = (np.arange(width // stride) + 0.5) * stride
    shape = (len(SLOTS), len(ys), len(xs))
    label = np.full(shape, 0 if objects.complete else -1, np.int8)
    for x0, y0, x1, y1 in objects.crowds:
        inside = ((ys >= y0 - stride) & (ys <= y1 + stride))[:, None]
        label[:, inside & ((xs >= x0 - stride) & (xs <= x1 + stride))] = -1
    owner = np.full(shape, -1, np.int16)
    quality = np.zeros(shape, np.float32)

    octaves = octaves_off(objects.boxes, level)
    near = np.flatnonzero((octaves <= SPARED_OCTAVES).any(1))
    if not len(near):
        return LevelTargets(label, owner, quality)
    boxes, octaves = objects.boxes[near], octaves[near][:, :, None, None]
    centre_x, centre_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    dx, dy = xs - centre_x[:, None], ys - centre_y[:, None]
    cells = np.hypot(dx[:, None, None, :], dy[:, None, :, None]) / stride  # (n, 1, h, w)

    label[((octaves <= SPARED_OCTAVES) & (cells <= SPARED_CELLS)).any(0)] = -1
    usable = objects.usable[near][:, None, None, None]
    means = usable & (octaves <= NEAR_OCTAVES) & (cells <= NEAR_CELLS)
    cost = np.where(means, cells**2 + (octaves / OCTAVES_A_CELL) ** 2, np.inf)
    best = cost.argmin(0)[None]
    owned = means.any(0)
    owner[owned] = near[best[0]][owned]
    core = (octaves <= CORE_OCTAVES) & (cells <= CORE_CELLS)
    label[owned & np.take_along_axis(core, best, 0)[0]] = 1
    fit = overlaps(boxes, dx, dy, level)
    quality[owned] = np.take_along_axis(fit, best, 0)[0][owned]
    return LevelTargets(label, owner, quality)


def scales(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, 4) → (n,): the larger side, limited to what the grids cover.

    Objects beyond the smallest or largest canonical scale belong to that grid.
    """
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return np.clip(sides, CANONICAL.min(), CANONICAL.max())


def octaves_off(boxes: npt.NDArray[np.float64], level: int) -> npt.NDArray[np.float64]:
    """(n, 4) → (n, slots): how many octaves each object is off the level's canonical scales."""
    off: npt.NDArray[np.float64] = np.abs(np.log2(scales(boxes)[:, None] / CANONICAL[level]))
    return off


def overlaps(
    boxes: npt.NDArray[np.float64],
    dx: npt.NDArray[np.float64],
    dy: npt.NDArray[np.float64],
    level: int,
) -> npt.NDArray[np.float64]:
    """Measure how well windows sit: IoU of the square about an object with the window's own.

    Their sides are the object's scale and the window's canonical one. Squares, because an object
    that is thin, or smaller than the smallest scale, is well placed in a window even if its centre
    is off by its own width. `dx` (n, w) and `dy` (n, h): locations minus centres, in pixels.
    Returns (n, slots, h, w).
    """
    side = scales(boxes)[:, None]
    inter = _overlap(side, level, dy)[:, :, :, None] * _overlap(side, level, dx)[:, :, None, :]
    both = (side**2 + CANONICAL[level] ** 2)[:, :, None, None]
    fit: npt.NDArray[np.float64] = inter / (both - inter)
    return fit


def _overlap(
    side: npt.NDArray[np.float64], level: int, off: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Overlap of a side (n, 1) with a window's canonical one, `off` (n, k) away: (n, slots, k)."""
    half, other = side[:, :, None] / 2, CANONICAL[level][:, None] / 2
    middle = off[:, None, :]
    left = np.maximum(-half, middle - other)
    length: npt.NDArray[np.float64] = np.maximum(np.minimum(half, middle + other) - left, 0)
    return length


def choose_windows(
    levels: Sequence[LevelTargets], rng: np.random.Generator, each: int, most: int
) -> npt.NDArray[np.int64]:
    """Draw windows that train masks: at most `each` an object and `most` in all.

    Windows of the core are three times as likely as others that mean the object. Returns (k, 5):
    slot, level, i, j, object.
    """
    rows = []
    for level, targets in enumerate(levels):
        slot, i, j = np.nonzero(targets.owner >= 0)
        owner = targets.owner[slot, i, j].astype(np.int64)
        core = targets.label[slot, i, j] == 1
        rows.append(np.stack([slot, np.full_like(slot, level), i, j, owner, core], 1))
    table = np.concatenate(rows)
    table = table[np.argsort(rng.random(len(table)) / np.where(table[:, 5] == 1, 3.0, 1.0))]
    # Rank of each row among its object's: stable sorting keeps the drawn order within an object.
    order = np.argsort(table[:, 4], kind="stable")
    first = np.searchsorted(table[order, 4], table[order, 4])
    rank = np.empty(len(table), np.int64)
    rank[order] = np.arange(len(table)) - first
    chosen: npt.NDArray[np.int64] = table[rank < each][:most, :5]
    return chosen
