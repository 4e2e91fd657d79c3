"""Outline masks with polygons of few corners that keep to the mask; boxes have four.

Corners lie a quarter of a pixel inside the mask's own edge. So a reader that asks for the pixels
whose centres are inside finds the mask, and one that rounds corners down and fills what they touch
finds it, too; each would be a pixel off with the other's corners.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle

#: Corners x, y in pixels, (N, 2) float64; a pixel's centre is at +0.5. The last joins the first.
Ring: TypeAlias = npt.NDArray[np.float64]

#: What an object is outlined by: its mask, or if there is none its box, (4,) XYWH in pixels.
Shape: TypeAlias = RLEMask | npt.NDArray[np.float64]

#: IoU of the polygons with their mask; .97 is promised, and readers differ by a little.
LEAST_IOU = 0.98
#: What is tried to get there: corners at most so many pixels off, specks and holes left out that
#: are smaller than this share of the mask.
_ATTEMPTS = ((4.0, 0.01), (2.5, 0.01), (1.5, 0.01), (1.0, 0.01), (0.7, 0.005), (0.5, 0.0))


def outline(shape: Shape) -> list[Ring]:
    """Return a ring for each part of a mask, the largest first; a hole is cut in from outside.

    Their union has an IoU of `LEAST_IOU` or more with the mask. An empty mask has none. A box has
    its corners, clockwise from the upper left.
    """
    if not isinstance(shape, RLEMask):
        x, y, width, height = shape
        return [np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])]
    return _outline(shape)


def area(shape: Shape) -> int:
    """Return the pixels of a mask, or of a box, rounded up."""
    return int(shape.area() if isinstance(shape, RLEMask) else np.ceil(shape[2:].prod()))


def masks_of(shapes: Sequence[Shape]) -> list[RLEMask]:
    """Return shapes as the masks they are; raises ValueError if one is a box."""
    masks = [shape for shape in shapes if isinstance(shape, RLEMask)]
    if len(masks) < len(shapes):
        raise ValueError("the model gives boxes only: there are no masks")
    return masks


def _outline(mask: RLEMask) -> list[Ring]:
    if not mask.any():
        return []
    parts = _parts(mask)
    for tolerance, least in _ATTEMPTS:
        rings = _simplified(parts, tolerance, least * mask.area())
        if iou(rings, mask) >= LEAST_IOU:
            return rings
    return [_with_holes(part) for part in parts]


def join(rings: Sequence[Ring]) -> Ring:
    """Join parts to one ring, by lines of no width that are walked there and back.

    Raises ValueError where there is none.
    """
    first, *others = rings
    for other in others:
        first = _spliced(first, other)
    return first


def iou(rings: Sequence[Ring], mask: RLEMask) -> float:
    """Return the IoU of a mask with the union of rings, filled as COCO's tools fill polygons."""
    filled = [RLEMask.from_polygon(ring, imshape=mask.shape) for ring in rings]
    return float(RLEMask.union(filled).iou(mask)) if filled else 0.0


def _parts(mask: RLEMask) -> list[list[Ring]]:
    """Trace each part of a mask, the largest first: its outer ring, then its holes."""
    x, y, width, height = rle.boxes_xywh([mask])[0].astype(int).tolist()
    inside = rle.to_array(mask)[y : y + height, x : x + width].astype(np.uint8)
    # Contours run through pixels' centres: of pixels of half the size, that is near the edge.
    doubled = inside.repeat(2, axis=0).repeat(2, axis=1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [(contour[:, 0].astype(np.float64) + 0.5) / 2 + (x, y) for contour in contours]
    parents = tree[0, :, 3].tolist()
    parts = [
        [ring, *(hole for hole, owner in zip(rings, parents, strict=True) if owner == index)]
        for index, ring in enumerate(rings)
        if parents[index] < 0
    ]
    return sorted(parts, key=lambda part: -_area(part[0]))


def _simplified(parts: Sequence[Sequence[Ring]], tolerance: float, least: float) -> list[Ring]:
    """Return each part of at least `least` pixels as one ring, corners up to `tolerance` off."""
    kept = [[ring for ring in part if _area(ring) >= least] for part in parts]
    simple = [list(_approximated(part, tolerance)) for part in kept if part]
    return [_with_holes(part) for part in simple if part]


def _approximated(part: Sequence[Ring], tolerance: float) -> Iterator[Ring]:
    for ring in part:
        corners = cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance, closed=True)[:, 0]
        if len(corners) >= 3:
            yield corners.astype(np.float64)


def _with_holes(part: Sequence[Ring]) -> Ring:
    outer, *holes = part
    for hole in holes:
        outer = _spliced(outer, hole)
    return outer


def _spliced(ring: Ring, other: Ring) -> Ring:
    """Walk `ring` up to its corner nearest to `other`, then around `other`, back, and on."""
    distances = ((ring[:, None] - other[None]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    around = np.roll(other, -int(there), axis=0)
    return np.concatenate([ring[: here + 1], around, around[:1], ring[here:]])


def _area(ring: Ring) -> float:
    return float(cv2.contourArea(ring.astype(np.float32)))
