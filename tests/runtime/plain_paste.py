"""Masks drawn pixel by pixel: what `run_lengths` must reach without visiting the pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepmask.runtime.views.geometry import knot_fraction, mask_coordinate, window_extent

Logits = npt.NDArray[np.float32]


def paste(
    logits: Logits, threshold: float, box: npt.NDArray[np.float64], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return the mask of one window in a picture of `size`, (height, width) bool.

    logits     (mask_size, mask_size), samples over the window.
    threshold  logit above which a pixel belongs to the mask.
    box        (4,) the window: top, left, height, width in pixels of the picture.
    The samples are interpolated at the centre of each pixel that lies in the window.
    """
    height, width = size
    top, left, tall, wide = box
    y_start, y_stop = (int(bound) for bound in window_extent(top, tall, height))
    x_start, x_stop = (int(bound) for bound in window_extent(left, wide, width))
    samples = logits.shape[0]
    rows = mask_coordinate(np.arange(y_start, y_stop), top, tall, samples)
    cols = mask_coordinate(np.arange(x_start, x_stop), left, wide, samples)
    excess = logits - np.float32(threshold)  # bilinear weights sum to one
    along_x = _interpolate(excess.T, cols).T
    mask = np.zeros(size, np.bool_)
    mask[y_start:y_stop, x_start:x_stop] = _interpolate(along_x, rows) > 0
    return mask


def _interpolate(samples: Logits, coordinates: npt.NDArray[np.float64]) -> Logits:
    """Rows between rows, in float32 as two products and one sum: (S, M) → (K, M)."""
    knot = np.clip(np.floor(coordinates).astype(np.int64), 0, len(samples) - 2)
    after = knot_fraction(coordinates, knot)[:, None]
    between: Logits = samples[knot] * (np.float32(1) - after) + samples[knot + 1] * after
    return between
