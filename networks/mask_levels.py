"""Geometry of `fpn-masks` (thesis §4.6): which window a location of a level stands for.

Location (i, j) of level P_k is centred at stride·(i + ½), stride·(j + ½) of the view, in pixels,
and carries a window for each head. An object's scale is the larger side of its box: 8 cells of a
level belong to the head of 5×5 cells, √2 times as many to that of 7×7. Masks cover 1.25 times that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepmask.networks.levels import Grid

#: Strides of P2 … P6.
STRIDES = (4, 8, 16, 32, 64)
#: Cells a side that a head reads → cells of the larger side of the object that it is for.
CANONICAL: Mapping[int, float] = {5: 8.0, 7: 8 * 2**0.5}


def window_cells(head: int) -> int:
    """Return how many cells a mask covers, a side: 10, or 14 for √2 times as many (14.14)."""
    return 2 * head


def grids(heads: Sequence[int], mask_size: int) -> tuple[Grid, ...]:
    """List all grids: level by level, finest first, heads in their order."""
    return tuple(
        Grid(
            f"p{level}x{head}",
            stride,
            window_cells(head) * stride,
            mask_size,
            CANONICAL[head] * stride,
        )
        for level, stride in enumerate(STRIDES, 2)
        for head in heads
    )
