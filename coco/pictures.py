"""Read the picture that labels belong to: the same pixels for training, checks and evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepmask.coco.annotations import Image
from deepmask.coco.errors import LabelError
from deepmask.runtime.errors import printable
from deepmask.runtime.io.images import ImageError, Size, read_turned, turned_sizes

#: What the labels of a set belong to, as an option has it, and what `Image.as_stored` is then.
ORIENTATIONS = {"auto": None, "shown": False, "stored": True}


def read_picture(image: Image, folder: Path | None = None) -> NDArray[np.uint8]:
    """Decode to uint8 RGB (height, width, 3) in the orientation that was annotated.

    Cameras store a picture lying on its side and say in EXIF how to turn it; some tools label it as
    stored, most as shown. `as_stored` of the image says which; where it is None the annotated size
    does, and where that fits both, it is as shown. Raises `LabelError` when the file is unreadable
    or of another size.
    """
    path = image.path if folder is None else folder / image.path
    try:
        pixels = read_turned(path, partial(_is_turned, image))
    except ImageError as error:
        raise LabelError(f"{error} (image {image.id})") from error
    if pixels.shape[:2] != (image.height, image.width):
        raise LabelError(
            f"{path} (image {image.id}): annotated as {image.width}×{image.height}, "
            f"found {pixels.shape[1]}×{pixels.shape[0]} pixels"
        )
    return pixels


def undecided(images: Iterable[Image], folder: Path | None = None) -> list[Image]:
    """Return the pictures that EXIF turns, whose labels may as well be of what is stored.

    Only headers are read.
    """
    found = []
    for image in images:
        if image.as_stored is None:
            sizes = turned_sizes(image.path if folder is None else folder / image.path)
            if sizes is not None and sizes[0] == sizes[1] == (image.width, image.height):
                found.append(image)
    return found


def undecided_note(found: list[Image]) -> str:
    """Return a warning that names `undecided` pictures, in one line."""
    names = ", ".join(str(image.path) for image in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return printable(
        f"note: EXIF turns {names}{more}, and the size fits both: the labels are taken as of what "
        "is shown; --labels-are stored or shown settles it"
    )


def _is_turned(image: Image, stored: Size, shown: Size) -> bool:
    if image.as_stored is not None:
        return not image.as_stored
    return (image.width, image.height) != stored or stored == shown
