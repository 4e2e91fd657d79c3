"""Geometry of `fpn-lite`: which window a location of a level stands for.

Location (i, j) of level l is centred at stride·(i + ½), stride·(j + ½) of the view, in pixels, and
carries two windows (slots), half an octave apart. A window's cells are whole cells of the next
finer level, so that gathering is exact; a mask has three or four samples a cell, so that both
slots' masks have 48×48.
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
    #: Mask samples a fine cell, a side.
    samples: int

    @property
    def mask(self) -> int:
        """Mask samples a side."""
        return self.samples * self.fine


#: 4 and 4·√2 cells; regions of 6 and 8 cells hold the largest object half a cell off centre. It has
#: 32 or 34 mask samples a side.
SLOTS = (Slot(4.0, 7, 12, 4), Slot(4.0 * 2**0.5, 9, 16, 3))


@dataclass(frozen=True)
class Grid:
    """The windows of one slot on one level: a row of `model.json`'s table of grids. Pixels."""

    name: str
    stride: int
    #: Side of the window in pixels, and of the mask in samples.
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
