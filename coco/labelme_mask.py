"""Masks in labelme's files: a PNG as text, of the rectangle between two corners."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from PIL import Image as Pillow

from deepmask.coco.segmentation import Rle
from deepmask.coco.values import LARGEST_SIDE, brief, whole
from deepmask.runtime.io.images import MAX_PIXELS

_LONGEST = 1 << 26


def decode_mask(
    text: Any, corners: list[tuple[float, float]], width: Any, height: Any
) -> Rle | str:
    """Return a mask as RLE over the whole picture, or what is wrong with it.

    corners  of the first and the last pixel, both inside the mask; parts outside the picture are
             cut off.
    """
    columns, rows = (whole(side) or 0 for side in (width, height))
    known = 0 < columns <= LARGEST_SIDE and 0 < rows <= LARGEST_SIDE
    if not known or columns * rows > MAX_PIXELS:
        return f"a mask in a picture of {brief(width)} x {brief(height)} pixels"
    if len(corners) != 2 or not isinstance(text, str) or len(text) > _LONGEST:
        return "a mask that is no PNG between two corners"
    (left, top), (right, bottom) = ((int(x), int(y)) for x, y in corners)
    size = (right - left + 1, bottom - top + 1)
    try:
        with Pillow.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as image:
            if image.size != size:
                return f"a mask of {image.width}×{image.height} between corners of {size}"
            if size[0] * size[1] > MAX_PIXELS or image.mode not in ("1", "L", "P"):
                return f"a mask of {image.width}×{image.height} in {image.mode}"
            part = np.array(image) > 0
    except Exception as error:  # damaged text makes Pillow's readers fail in many ways
        return f"a mask that cannot be read: {brief(str(error))}"
    x, y = max(0, left), max(0, top)
    part = part[y - top :, x - left :][: max(0, rows - y), : max(0, columns - x)]
    mask = np.zeros((rows, columns), np.uint8, order="F")
    mask[y : y + part.shape[0], x : x + part.shape[1]] = part
    return {"size": [rows, columns], "counts": coco_mask.encode(mask)["counts"]}


def join_masks(one: Rle, other: Rle) -> Rle:
    """Return the RLE of what is in either of two."""
    both: Rle = coco_mask.merge([one, other])
    return {"size": one["size"], "counts": both["counts"]}
