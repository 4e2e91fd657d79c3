"""Cut objects out of a picture: each a PNG that is transparent around its mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.io.results import encode_picture


def cut_out(image: npt.NDArray[np.uint8], mask: RLEMask) -> bytes:
    """Return a PNG with the pixels of `mask`, cropped to its box; opaque on the mask only.

    image  (H, W, 3) uint8 RGB; the mask has a pixel. Pixels that are not on it are black.
    """
    x, y, width, height = rle.boxes_xywh([mask])[0].astype(int).tolist()
    part = np.s_[y : y + height, x : x + width]
    inside = rle.to_array(mask)[part]
    pixels = np.dstack([image[part] * inside[:, :, None], np.uint8(255) * inside])
    return encode_picture(pixels.astype(np.uint8))
