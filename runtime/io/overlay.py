"""Draw the best masks on a photograph, as translucent colours with outlines."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle

#: Highest IoU of two drawn masks: an object and a small part of it are both drawn.
_MOST_ALIKE = 0.2
#: Proposals below this share of the best score are not drawn.
_LEAST_SCORE = 0.5
_TINT = 0.4
_SHADOW = 0.35  # of the dark rim that sets an outline off from its surroundings
_GOLDEN = 0.618034  # successive hues this far apart stay distinct, however many there are


def draw_masks(
    image: npt.NDArray[np.uint8],
    masks: Sequence[RLEMask],
    scores: npt.NDArray[np.float32],
    top: int = 20,
) -> npt.NDArray[np.uint8]:
    """Draw up to `top` of N masks, best first, on a copy of `image`, (H, W, 3) uint8 RGB.

    masks   at the image's resolution; scores: (N,), descending.
    Skips a mask that is much like a better one, so that the picture shows objects, not variants of
    the best one. Paints larger masks first. Raises ValueError for an image of another size.
    """
    sizes = {mask.shape for mask in masks}
    if image.ndim != 3 or image.shape[2] != 3 or not sizes <= {image.shape[:2]}:
        raise ValueError(f"image is {image.shape}, the masks' image is {sorted(sizes)}")
    areas = rle.areas(masks)
    chosen = choose_distinct(masks, areas, scores, top)
    canvas = image.copy()
    for rank in sorted(range(len(chosen)), key=lambda rank: -int(areas[chosen[rank]])):
        mask = masks[chosen[rank]]
        _paint(canvas, rle.to_array(mask), rle.boxes_xywh([mask])[0], _colour(rank))
    return canvas


def choose_distinct(
    masks: Sequence[RLEMask],
    areas: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    top: int,
) -> list[int]:
    """Return the indices of up to `top` masks, best first, no two of which are alike.

    Masks that score far below the best are not chosen, even if fewer than `top` remain.
    """
    chosen: list[int] = []
    good = np.flatnonzero((areas > 0) & (scores >= _LEAST_SCORE * scores.max(initial=0)))
    for index in good.tolist():
        if len(chosen) == top:
            break
        shared = rle.overlaps(masks[index], [masks[other] for other in chosen])
        if (shared <= _MOST_ALIKE * (areas[chosen] + areas[index] - shared)).all():
            chosen.append(index)
    return chosen


def _colour(rank: int) -> npt.NDArray[np.float32]:
    """Return the RGB colour, 0…255, of the drawn object of this rank."""
    return 255 * np.array(colorsys.hsv_to_rgb((0.02 + _GOLDEN * rank) % 1, 0.85, 1), np.float32)


def _paint(
    canvas: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_],
    box: npt.NDArray[np.float64],
    colour: npt.NDArray[np.float32],
) -> None:
    """Tint a mask and outline it, in place, visiting only the part of the canvas around its box."""
    width = max(1, round(max(mask.shape) / 400))
    x, y, w, h = box.astype(int)
    margin = 2 * width + 2
    part = np.s_[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin]
    inside = mask[part].astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    picture = canvas[part].astype(np.float32)
    layers = [(_TINT * inside, colour)]
    for line_width, shade, opacity in ((width + 2, 0 * colour, _SHADOW), (width, colour, 1.0)):
        line = np.zeros(inside.shape, np.uint8)
        cv2.polylines(line, contours, True, 255, line_width, cv2.LINE_AA)
        layers.append((opacity / 255 * line, shade))
    for alpha, shade in layers:
        picture += alpha.astype(np.float32)[:, :, None] * (shade - picture)
    canvas[part] = np.rint(picture)
