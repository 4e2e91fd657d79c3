"""Convert pixels of the picture to samples of a window's mask and back, along rows or columns.

Pixel centres are at +0.5. A window begins at `start` and is `length` long, in pixels of the picture
as floats; its mask has `size` samples over that length, and sample k's centre is coordinate k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def mask_coordinate(pixel: npt.ArrayLike, start: Any, length: Any, size: int) -> Floats:
    """Return the sample coordinates of pixel centres."""
    coordinate: Floats = (np.asarray(pixel, np.float64) + 0.5 - start) * (size / length) - 0.5
    return coordinate


def pixel_coordinate(coordinate: npt.ArrayLike, start: Any, length: Any, size: int) -> Floats:
    """Return the fractional pixels of sample coordinates: the inverse of `mask_coordinate`."""
    pixel: Floats = (np.asarray(coordinate, np.float64) + 0.5) * (length / size) + start - 0.5
    return pixel


def window_extent(start: Any, length: Any, limit: int) -> tuple[Integers, Integers]:
    """Return the pixels whose centres lie in a window: the first, and one past the last.

    Clipped to a picture of `limit` pixels; for a window beside the picture both are the same.
    """
    first = np.clip(np.ceil(start - 0.5), 0, limit).astype(np.int64)
    return first, np.clip(np.ceil(start + length - 0.5), first, limit).astype(np.int64)


def knot_fraction(coordinate: Floats, knot: Integers) -> npt.NDArray[np.float32]:
    """Return how far each coordinate is from sample `knot` to the next: 0…1, clamped."""
    fraction: npt.NDArray[np.float32] = np.clip(coordinate - knot, 0.0, 1.0).astype(np.float32)
    return fraction
