"""Plan and paint the views of a picture: the sizes it is seen at, and the canvas of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.manifest import Views


@dataclass(frozen=True)
class View:
    """A picture at one scale.

    factor                        the scale factor it stands for.
    height, width                 of the scaled picture, in pixels.
    ratio_y, ratio_x              of its sides to the picture's, after rounding.
    canvas_height, canvas_width   of what the network sees: a multiple of `Views.multiple`, and the
                                  border.
    """

    factor: float
    height: int
    width: int
    ratio_y: float
    ratio_x: float
    canvas_height: int
    canvas_width: int


def plan_views(
    height: int, width: int, factors: Sequence[float], views: Views, max_side: int | None = None
) -> list[View]:
    """Return the views of a picture, smallest first (DeepMask §3.3).

    height, width  of the picture, in pixels.
    factors        refer to scale 1: the picture, or the picture scaled to `max_side`.
    max_side       instead of the model's own, see `Views`.
    Factors that round to the same size, as on tiny pictures, give one view.
    """
    base = (max_side or views.max_side) / max(height, width)
    base = base if views.enlarge else min(1.0, base)
    sizes = {(_scaled(height, base * f), _scaled(width, base * f)): f for f in factors}
    planned = []
    for (h, w), factor in sorted(sizes.items()):
        canvas = _canvas_length(h, views), _canvas_length(w, views)
        planned.append(View(factor, h, w, h / height, w / width, *canvas))
    return planned


def canvas_shape(view: View) -> tuple[int, int, int, int]:
    """Return (1, 3, canvas_height, canvas_width)."""
    return 1, 3, view.canvas_height, view.canvas_width


def shrinks(size: Sequence[int], view: View) -> bool:
    """Return whether a view is no larger than the picture of (height, width) `size`."""
    return view.height <= size[0] and view.width <= size[1]


def render_view(
    image: npt.NDArray[np.uint8],
    view: View,
    views: Views,
    canvas: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Paint the canvas of a view: (H, W, 3) uint8 RGB → (1, 3, canvas_height, canvas_width).

    Values are float32, 0…255; all around the scaled picture is `views.fill`. A given `canvas` is
    painted over and returned.
    """
    size = (view.width, view.height)
    if size == (image.shape[1], image.shape[0]):
        scaled = image
    else:
        method = cv2.INTER_AREA if shrinks(image.shape[:2], view) else cv2.INTER_LINEAR
        scaled = cv2.resize(image, size, interpolation=method).astype(np.uint8, copy=False)
    if canvas is None:
        canvas = np.empty(canvas_shape(view), np.float32)
    canvas.fill(views.fill)
    rows = slice(views.border, views.border + view.height)
    cols = slice(views.border, views.border + view.width)
    canvas[0, :, rows, cols] = scaled.transpose(2, 0, 1)
    return canvas


def _scaled(length: int, factor: float) -> int:
    return max(1, math.floor(length * factor + 0.5))


def _canvas_length(length: int, views: Views) -> int:
    return -(-length // views.multiple) * views.multiple + 2 * views.border
