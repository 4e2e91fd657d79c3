"""Grids over a view: how many locations they have, and which window each location is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.manifest import Axis, Grid, Manifest
from deepmask.runtime.views.views import View


def location_counts(view: View, grid: Grid) -> tuple[int, int]:
    """Return the rows and columns of a grid's locations that belong to a view's picture."""
    return _count(view.height, grid), _count(view.width, grid)


def map_shape(view: View, grid: Grid, border: int) -> tuple[int, int]:
    """Return the rows and columns of a grid's score map over a view's canvas.

    There may be more than `location_counts`: the canvas is larger than the picture.
    """
    sides = (view.canvas_height, view.canvas_width)
    return _count(sides[0] - 2 * border, grid), _count(sides[1] - 2 * border, grid)


def window_boxes(
    row: npt.NDArray[np.int64],
    col: npt.NDArray[np.int64],
    grids: Sequence[Grid],
    views: Sequence[View],
) -> npt.NDArray[np.float64]:
    """Return the windows of N locations in the picture: (N, 4) top, left, height, width in pixels.

    grids, views: the grid and the view of each location.
    """
    boxes = np.empty((len(row), 4), np.float64)
    columns = [(grid.stride, grid.offset, *grid.sides) for grid in grids]
    stride, offset, *sides = np.array(columns, np.float64).reshape(-1, 4).T
    ratios = np.array([(view.ratio_y, view.ratio_x) for view in views], np.float64).reshape(-1, 2)
    for side, index in enumerate((row, col)):
        boxes[:, side] = (stride * (index + offset) - sides[side] / 2) / ratios[:, side]
        boxes[:, side + 2] = sides[side] / ratios[:, side]
    return boxes


def axis_size(axis: Axis, view: View, manifest: Manifest, windows: int) -> int:
    """Return the size that an axis of a tensor (see `TensorSpec`) has for a view and N windows.

    For the axis "any" it is one of those that it may have: cells of 4×4 pixels.
    """
    if isinstance(axis, int):
        return axis
    rows, cols = map_shape(view, manifest.grids[0], manifest.views.border)
    named, _, cell = axis.partition("/")
    sizes = {"height": view.canvas_height, "width": view.canvas_width}
    cells = view.canvas_height * view.canvas_width // 16
    sizes |= {"rows": rows, "cols": cols, "n": windows, "any": max(1, cells)}
    return sizes[named] // int(cell or 1)


def _count(length: int, grid: Grid) -> int:
    """Return the locations along `length` pixels; a grid without offset has one at both ends."""
    return -(-length // grid.stride) + (grid.offset == 0)
