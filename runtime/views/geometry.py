"""Where a window lies: location → window → image and back, along one axis.

Everything here holds for rows and for columns alike. Pixel centres are at +0.5. A scaled image is
`ratio` times the image along the axis; location `i` is the window of `patch` pixels centred at
`stride * i` of the scaled image, and its mask has `mask_size` samples over those pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WindowGrid:
    """The sizes that place windows: pixels of the scaled image, and mask samples per window."""

    patch: int
    stride: int
    mask_size: int


def location_count(length: int, stride: int) -> int:
    """Locations along an axis of `length` scaled pixels: i = 0 … ⌈length/stride⌉."""
    return -(-length // stride) + 1


def canvas_length(length: int, stride: int, border: int) -> int:
    """Axis length of the canvas: the scaled image up to a whole cell, and a border at both ends."""
    return -(-length // stride) * stride + 2 * border


def mask_coordinate(pixel: npt.ArrayLike, location: Any, ratio: Any, grid: WindowGrid) -> Floats:
    """Image pixel → sample coordinate of a window's mask; sample k's centre is coordinate k."""
    scaled = (np.asarray(pixel, np.float64) + 0.5) * ratio
    corner = grid.stride * np.asarray(location, np.float64) - grid.patch / 2
    coordinate: Floats = (scaled - corner) * (grid.mask_size / grid.patch) - 0.5
    return coordinate


def image_coordinate(
    coordinate: npt.ArrayLike, location: Any, ratio: Any, grid: WindowGrid
) -> Floats:
    """Inverse of `mask_coordinate`: sample coordinate → image pixel, fractional."""
    scaled = (np.asarray(coordinate, np.float64) + 0.5) * (grid.patch / grid.mask_size)
    corner = grid.stride * np.asarray(location, np.float64) - grid.patch / 2
    pixel: Floats = (scaled + corner) / ratio - 0.5
    return pixel


def window_extent(
    location: Any, ratio: Any, length: int, grid: WindowGrid
) -> tuple[Integers, Integers]:
    """The image pixels whose centres lie in a window: first, and one past the last.

    Clipped to an image of `length` pixels; a window beside the image gives first = past the last.
    """
    first = np.ceil(image_coordinate(-0.5, location, ratio, grid))
    stop = np.ceil(image_coordinate(grid.mask_size - 0.5, location, ratio, grid))
    start = np.clip(first, 0, length).astype(np.int64)
    return start, np.clip(stop, start, length).astype(np.int64)


def bilinear_taps(
    coordinate: Floats, mask_size: int
) -> tuple[Integers, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Sample coordinates → left sample k, weight of sample k, weight of sample k + 1.

    Clamped at the mask's edge: beyond the centres of the outermost samples their value holds.
    """
    knot = np.clip(np.floor(coordinate).astype(np.int64), 0, mask_size - 2)
    after = knot_fraction(coordinate, knot)
    return knot, np.float32(1) - after, after


def knot_fraction(coordinate: Floats, knot: Integers) -> npt.NDArray[np.float32]:
    """How far a coordinate is from sample `knot` to the next, 0 … 1, clamped."""
    fraction: npt.NDArray[np.float32] = np.clip(coordinate - knot, 0.0, 1.0).astype(np.float32)
    return fraction
