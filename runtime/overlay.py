"""The picture one shows: the best objects as translucent colours with outlines."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

from deepmask.runtime import rle
from deepmask.runtime.proposals import Proposals

#: Of the smaller of two drawn masks, at most this share may lie in the other.
_SHARED = 0.3
_TINT = 0.45
_GOLDEN = 0.618034  # successive hues this far apart stay distinct, however many there are


def draw_proposals(
    proposals: Proposals, image: npt.NDArray[np.uint8], top: int = 20
) -> npt.NDArray[np.uint8]:
    """Draw up to `top` proposals, best first, on a copy of `image`, (H, W, 3) uint8 RGB.

    A proposal that shares much with a better one is passed over, so that a person sees objects
    and not every variant of the best one. Larger masks are painted first.
    """
    if image.shape != (*proposals.image_size, 3):
        raise ValueError(f"image is {image.shape}, the proposals' image is {proposals.image_size}")
    chosen = choose_distinct(proposals, top)
    canvas = image.astype(np.float32)
    by_size = sorted(range(len(chosen)), key=lambda rank: -int(proposals.areas[chosen[rank]]))
    for rank in by_size:
        _paint(canvas, proposals.masks(chosen[rank]), _colour(rank))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def choose_distinct(proposals: Proposals, top: int) -> list[int]:
    """Indices of up to `top` proposals, best first, that hardly overlap or contain one another."""
    chosen: list[int] = []
    areas = proposals.areas
    for index in np.flatnonzero(areas).tolist():
        if len(chosen) == top:
            break
        kept = [proposals.encoded[other] for other in chosen]
        shared = rle.overlaps(proposals.encoded[index], kept)
        if (shared <= _SHARED * np.minimum(areas[chosen], areas[index])).all():
            chosen.append(index)
    return chosen


def _colour(rank: int) -> tuple[float, float, float]:
    """RGB 0…255 of the drawn object of this rank."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + _GOLDEN * rank) % 1.0, 0.85, 1.0)
    return 255 * red, 255 * green, 255 * blue


def _paint(
    canvas: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    colour: tuple[float, float, float],
) -> None:
    """Tint a mask and outline it, in place."""
    canvas[mask] += _TINT * (np.array(colour, np.float32) - canvas[mask])
    width = max(1, round(max(mask.shape) / 400))
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_KCOS
    )
    for extra, shade, opacity in ((2, (0.0, 0.0, 0.0), 0.35), (0, colour, 1.0)):
        line = np.zeros(mask.shape, np.uint8)
        cv2.polylines(line, contours, True, 255, width + extra, cv2.LINE_AA)
        alpha = (opacity / 255 * line.astype(np.float32))[:, :, None]
        canvas += alpha * (np.array(shade, np.float32) - canvas)
