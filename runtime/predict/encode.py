"""Encode the masks of a picture's windows, part by part, on several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.predict.run_lengths import mask_runs

#: Windows handled at once: what is computed of them stays within a core's cache.
_WINDOWS = 256

Boxes = npt.NDArray[np.float64]


def encode_masks(
    logits: npt.NDArray[Any],
    threshold: float,
    windows: Boxes,
    size: tuple[int, int],
    threads: int = 1,
) -> tuple[list[RLEMask], Boxes]:
    """Return N masks in a picture, and their tight boxes (N, 4): x, y, width, height in pixels.

    Arguments are those of `mask_runs`. The masks are the same for any number of `threads`.
    """

    def of_part(first: int) -> tuple[list[RLEMask], Boxes]:
        part = slice(first, first + _WINDOWS)
        runs = mask_runs(logits[part], threshold, windows[part], size)
        masks = [rle.from_counts(counts, *size) for counts in runs]
        return masks, rle.boxes_xywh(masks)

    starts = range(0, len(windows), _WINDOWS)
    if min(threads, len(starts)) > 1:
        with ThreadPoolExecutor(min(threads, len(starts))) as pool:  # numpy lets go of its lock
            parts = list(pool.map(of_part, starts))
    else:
        parts = list(map(of_part, starts))
    masks = [mask for part, _ in parts for mask in part]
    return masks, np.concatenate([np.empty((0, 4)), *(boxes for _, boxes in parts)])
