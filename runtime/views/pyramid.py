"""The image pyramid: which sizes an image is seen at, and the canvas of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.views.geometry import canvas_length, location_count

#: Longest side, in pixels, that scale 1 may have: larger images are seen smaller. Bounds time and
#: memory for large photographs; 1333 is the customary limit of COCO detectors.
MAX_SIDE = 1333


@dataclass(frozen=True)
class Level:
    """One scale of the pyramid.

    factor                        the scale factor it stands for.
    height, width                 of the scaled image.
    ratio_y, ratio_x              of its sides to the image's, after rounding.
    canvas_height, canvas_width   of the picture the trunk sees: whole cells, and the border.
    rows, cols                    locations in the score map.
    """

    factor: float
    height: int
    width: int
    ratio_y: float
    ratio_x: float
    canvas_height: int
    canvas_width: int
    rows: int
    cols: int


def plan_pyramid(
    height: int,
    width: int,
    factors: Sequence[float],
    manifest: Manifest,
    max_side: int = MAX_SIDE,
) -> list[Level]:
    """The levels of an image, smallest first (DeepMask §3.3).

    Scale factors refer to the image, or to the image shrunk to `max_side` if it is longer. Factors
    that round to the same size, as on tiny images, give one level.
    """
    base = min(1.0, max_side / max(height, width))
    sizes = {(_scaled(height, base * f), _scaled(width, base * f)): f for f in factors}
    return [
        _level(factor, height, width, h, w, manifest) for (h, w), factor in sorted(sizes.items())
    ]


def canvas_shape(level: Level) -> tuple[int, int, int, int]:
    """(1, 3, canvas_height, canvas_width)."""
    return 1, 3, level.canvas_height, level.canvas_width


def render_level(
    image: npt.NDArray[np.uint8],
    level: Level,
    manifest: Manifest,
    canvas: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """The canvas of a level: (H, W, 3) uint8 RGB → (1, 3, canvas_height, canvas_width) float32.

    Values are 0 … 255; all around the scaled image is `manifest.fill`. `canvas` is painted over and
    returned; without one it is a new array.
    """
    size = (level.width, level.height)
    if size == (image.shape[1], image.shape[0]):
        scaled = image
    else:
        shrinks = level.height <= image.shape[0] and level.width <= image.shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        scaled = cv2.resize(image, size, interpolation=method).astype(np.uint8, copy=False)
    if canvas is None:
        canvas = np.empty(canvas_shape(level), np.float32)
    canvas.fill(manifest.fill)
    rows = slice(manifest.border, manifest.border + level.height)
    cols = slice(manifest.border, manifest.border + level.width)
    canvas[0, :, rows, cols] = scaled.transpose(2, 0, 1)
    return canvas


def _scaled(length: int, factor: float) -> int:
    return max(1, math.floor(length * factor + 0.5))


def _level(factor: float, height: int, width: int, h: int, w: int, manifest: Manifest) -> Level:
    return Level(
        factor=factor,
        height=h,
        width=w,
        ratio_y=h / height,
        ratio_x=w / width,
        canvas_height=canvas_length(h, manifest.stride, manifest.border),
        canvas_width=canvas_length(w, manifest.stride, manifest.border),
        rows=location_count(h, manifest.stride),
        cols=location_count(w, manifest.stride),
    )
