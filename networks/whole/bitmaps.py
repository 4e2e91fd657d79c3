"""Objects as bitmaps of a canvas, from COCO's segmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from deepmask.coco.segmentation import encode
from deepmask.networks.whole.view import AVERAGED_BELOW, View

Bitmap = npt.NDArray[np.uint8]


def paint_object(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any],
    size: tuple[int, int],
    view: View,
    canvas: tuple[int, int],
) -> Bitmap:
    """Paint an object on a canvas: (H, W) uint8, 0 or 1.

    `segmentation`: polygons or run lengths of a picture of `size` (height, width). Polygons are
    moved and then rasterised, as COCO does it: nothing is resampled.
    """
    if isinstance(segmentation, Mapping):
        bitmap = _from_run_lengths(segmentation, size, view, canvas)
    else:
        polygons = [
            view.points(np.asarray(p, np.float64).reshape(-1, 2)).ravel().tolist()
            for p in segmentation
            if len(p) >= 6  # three points; fewer enclose nothing
        ]
        if not polygons:
            return np.zeros(canvas, np.uint8)
        runs = coco_mask.frPyObjects(polygons, *canvas)
        bitmap = np.ascontiguousarray(coco_mask.decode(coco_mask.merge(runs)))
    bitmap[view.height :] = 0
    bitmap[:, view.width :] = 0
    return bitmap


def _from_run_lengths(
    runs: Mapping[str, Any], size: tuple[int, int], view: View, canvas: tuple[int, int]
) -> Bitmap:
    """Decode, then sample bilinearly (averaged first where the view is much smaller)."""
    share = coco_mask.decode(encode(runs, *size)).astype(np.float32)
    if view.scale_x < AVERAGED_BELOW:
        side = round(1 / view.scale_x) | 1
        share = cv2.blur(share, (side, side)).astype(np.float32)
    moved = cv2.warpAffine(
        share,
        view.affine(),
        (canvas[1], canvas[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    return np.asarray(moved > 0.5, np.uint8)


def visible_box(bitmap: Bitmap) -> tuple[int, int, int, int]:
    """Find x0, y0, x1, y1 of what is painted; all 0 for an empty bitmap."""
    x, y, width, height = cv2.boundingRect(bitmap)
    return x, y, x + width, y + height
