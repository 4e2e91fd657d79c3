"""Single values of label files: what is taken for a number, a box or a file name, and what not."""

from __future__ import annotations

import math
import re
import reprlib
from pathlib import Path, PurePosixPath
from typing import Any

#: Larger sides are no photograph: OpenCV warps none, and their masks overflow 32-bit runs.
LARGEST_SIDE = 30_000

#: What commands say of options for labels; here, as this module is quick to import.
FORMATS = (
    "COCO instances JSON; or a folder of labelme JSON, YOLO's data.yaml or folder of labels, "
    "or a list in ImageSets of a PASCAL VOC folder"
)

Box = tuple[float, float, float, float]

#: Key of an entry under which a reader puts the file and place that it is from.
SOURCE = ("source",)
#: Key under which it says why there is neither box nor outline.
FAULT = ("fault",)

_WHOLE = re.compile(r"-?[0-9]{1,19}")
_FARTHEST = 1e9
_TRUTH = {"0": False, "false": False, "no": False, "": False, "1": True, "true": True, "yes": True}


def whole(value: Any) -> int | None:
    """Return an id or a count of at most 64 bits, also from 12.0 or "12"; None for another value.

    Tools write ids as text, and tables of numbers make whole numbers floats.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return whole(int(value))
    if isinstance(value, float) and value.is_integer():
        return whole(int(value))
    return value if type(value) is int and -(1 << 63) <= value < 1 << 63 else None


def number(value: Any) -> float | None:
    """Return a finite number, also from text; None for another value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def truth(value: Any) -> bool | None:
    """Return a truth value, also of text and of 0 and 1; None for what is not clear.

    What is missing, or null, is false.
    """
    if isinstance(value, str):
        return _TRUTH.get(value.strip().casefold())
    if value is None:
        return False
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def xywh(value: Any) -> Box | None:
    """Return x, y, width, height from a list of them, of a sane size, sides ≥ 0; None otherwise."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    x, y, width, height = map(number, value)
    if x is None or y is None or width is None or height is None:
        return None
    if max(abs(x), abs(y), width, height) >= _FARTHEST or min(width, height) < 0:
        return None
    return x, y, width, height


def leaves_folder(name: str) -> bool:
    """Return whether a file name of a labelled set points out of the folder of its images."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or "\0" in name


def is_hidden(path: Path, folder: Path) -> bool:
    """Return whether a file in a folder, or a folder above it in there, has a name with a dot.

    Systems and programs keep notes of their own so, named as the files that they are about.
    """
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def brief(value: Any) -> str:
    """Return a value read from JSON as a few characters, however long or deep it is."""
    return "null" if value is None else reprlib.repr(value)
