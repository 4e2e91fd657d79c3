"""Geometry of `fpn-lite`: which window a location of a level stands for.

Location (i, j) of level l is centred at stride·(i + ½), stride·(j + ½) of the view, in pixels, and
carries two windows (slots), half an octave apart. A window's cells are whole cells of the next
finer level, so that gathering is exact; a mask has two pixels a cell, a quarter stride each.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Strides of the levels that are scored, finest first.
STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Slot:
    """One of the windows of a location. Sizes in cells, so that they hold at every level."""

    #: Canonical larger side of an object's box, in cells of the level.
    scale: float
    #: Cells of the level read for context, a side (odd: the location is the middle one).
    context: int
    #: Cells of the next finer level read for the mask, a side (even: the location is a corner).
    fine: int

    @property
    def mask(self) -> int:
        """Mask pixels a side: two a fine cell, four a cell of the level."""
        return 2 * self.fine


#: 4 and 4·√2 cells; regions of 6 and 8 cells hold the largest object half a cell off centre.
SLOTS = (Slot(4.0, 7, 12), Slot(4.0 * 2**0.5, 9, 16))


@dataclass(frozen=True)
class Grid:
    """The windows of one slot on one level: a row of `model.json`'s table of grids. Pixels."""

    name: str
    stride: int
    #: Side of the window, and of the mask in mask pixels.
    window: int
    mask_size: int
    #: Larger side of an object's box that sits best in the window.
    scale: float


def grids() -> tuple[Grid, ...]:
    """List all grids: level by level, finest first, the smaller window first."""
    return tuple(
        Grid(f"s{stride}{'ab'[n]}", stride, slot.fine * stride // 2, slot.mask, slot.scale * stride)
        for stride in STRIDES
        for n, slot in enumerate(SLOTS)
    )
