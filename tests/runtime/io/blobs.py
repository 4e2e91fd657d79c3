"""Masks like a network's: blobs with holes, specks and ragged edges."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask


def draw_blob(seed: int, height: int = 90, width: int = 120) -> npt.NDArray[np.bool_]:
    """Return a mask, (height, width) bool, that may have several parts, holes and the border."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(1.5, 9)))
    rows, cols = np.mgrid[:height, :width]
    centre = rng.uniform(0.2, 0.8, 2) * (height, width)
    radius = rng.uniform(8, 45)
    distance = np.hypot(rows - centre[0], cols - centre[1]) / radius
    blob: npt.NDArray[np.bool_] = smooth / smooth.std() > 2.5 * (distance - 0.8)
    return blob


def encoded(mask: npt.NDArray[np.bool_]) -> RLEMask:
    return RLEMask.from_array(np.asfortranarray(mask.astype(np.uint8)))


def iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))
