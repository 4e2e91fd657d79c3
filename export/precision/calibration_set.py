"""The pictures of a reduced export: those it calibrates on, and others it is compared on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepmask.export.errors import ExportUsageError
from deepmask.runtime.io.images import SUFFIXES, ImageError, read_image

#: Most photographs that ranges are measured on. More change them little and take longer.
CALIBRATED = 16
#: Pictures that agreement is measured on.
COMPARED = 10
#: Height and width of the drawn pictures.
DRAWN_SIZES = ((240, 320), (320, 240), (256, 256), (300, 400), (199, 301))

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Photographs:
    """Files to calibrate on and files to compare on; `apart` if no file is in both."""

    calibrated: tuple[Path, ...]
    compared: tuple[Path, ...]
    apart: bool


def choose_photographs(folder: Path, report: Callable[[str], None]) -> Photographs:
    """Choose files evenly over the sorted names in `folder`; report those that cannot be read.

    Of twenty or more, `COMPARED` are kept apart for the comparison. Raises `ExportUsageError` for
    a folder without photographs.
    """
    if not folder.is_dir():
        raise ExportUsageError(f"--calibration {folder}: no such folder")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    count = min(len(files), CALIBRATED + COMPARED)
    readable = []
    for path in (files[k * len(files) // count] for k in range(count)):
        try:
            read_image(path)
        except ImageError as error:
            report(f"left out {error}")
        else:
            readable.append(path)
    if not readable:
        raise ExportUsageError(
            f"--calibration {folder}: no photograph there that can be read; give a folder with "
            "some dozens like those the model will see"
        )
    if len(readable) < 2 * COMPARED:
        return Photographs(tuple(readable), tuple(readable[:COMPARED]), apart=False)
    compared = [readable[k * len(readable) // COMPARED] for k in range(COMPARED)]
    calibrated = [path for path in readable if path not in compared]
    return Photographs(tuple(calibrated), tuple(compared), apart=True)


def drawn_pictures() -> Iterator[Image]:
    """Yield `COMPARED` drawn pictures, the same in every export: (H, W, 3) uint8 RGB."""
    random = np.random.default_rng(0)
    for number in range(COMPARED):
        height, width = DRAWN_SIZES[number % len(DRAWN_SIZES)]
        coarse = random.integers(60, 196, (6, 8, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(8):
            centre = (int(random.integers(width)), int(random.integers(height)))
            axes = (int(random.integers(10, width // 4)), int(random.integers(10, height // 4)))
            turn, colour = float(random.integers(180)), random.integers(0, 256, 3).tolist()
            cv2.ellipse(picture, centre, axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
        yield picture.astype(np.uint8)
