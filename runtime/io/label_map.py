"""A label map: a PNG of 16 bits whose pixels are the numbers of objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.io.results import encode_picture


def label_map(masks: Sequence[RLEMask], size: tuple[int, int]) -> bytes:
    """Return a PNG, 16-bit gray: 0 where no mask is, else the mask's number from 1 on.

    masks  at most 65535, best first. Of two that share a pixel, the smaller one has it.
    size   (height, width) of the picture.
    """
    numbers = np.zeros(size, np.uint16)
    for index in np.argsort(rle.areas(masks), kind="stable")[::-1].tolist():
        numbers[rle.to_array(masks[index])] = index + 1
    return encode_picture(numbers)
