"""Draw a photograph to measure on, and mask logits that look like objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from deepmask.runtime.model.manifest import Scales


@dataclass(frozen=True)
class Size:
    """A usual image size of a data set, and the paper's seconds for one image (§4, K40m GPU)."""

    name: str
    height: int
    width: int
    paper_seconds: float


COCO = Size("coco", 480, 640, 1.6)
PASCAL = Size("pascal", 375, 500, 1.2)
SIZES = (COCO, PASCAL)


def draw_picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Draw twenty soft-edged ellipses on a textured ground, (height, width, 3) RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 190, (height // 16, width // 16, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(20):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = tuple(int(v) for v in rng.integers(height // 40, height // 4, 2))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        cv2.ellipse(picture, centre, axes, int(rng.integers(180)), 0, 360, colour, -1)
    blurred = cv2.GaussianBlur(picture, (0, 0), 1.0).astype(np.int16)
    noisy: npt.NDArray[np.uint8] = np.clip(
        blurred + rng.integers(-8, 9, blurred.shape), 0, 255
    ).astype(np.uint8)
    return noisy


def write_picture(path: Path, height: int, width: int, seed: int = 0) -> Path:
    """Write a drawn picture as a JPEG of quality 90."""
    Image.fromarray(draw_picture(height, width, seed)).save(path, quality=90)
    return path


def draw_masks(
    count: int, height: int, width: int, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return mask logits (count, 56, 56) of smooth shapes and their windows in a picture.

    Windows are (count, 4): top, left, height and width in pixels, of the 160 px model's views. They
    are drawn uniformly over scales and then over places, so small and large ones occur.
    """
    rng = np.random.default_rng(seed)
    low = rng.normal(0, 2, (count, 7, 7)).astype(np.float32)
    steps = np.linspace(-1, 1, 56)
    disc = 6 * (0.4 - steps[:, None] ** 2 - steps**2)
    resized = [cv2.resize(one, (56, 56), interpolation=cv2.INTER_CUBIC) for one in low]
    logits = (np.stack(resized) + disc).astype(np.float32)
    ratio = rng.choice(Scales(-2.5, 0.5, 0.5).factors(), count)
    row = (rng.random(count) * height * ratio / 16).astype(np.int64)
    col = (rng.random(count) * width * ratio / 16).astype(np.int64)
    top, left = (16 * row - 80) / ratio, (16 * col - 80) / ratio
    return logits, np.stack([top, left, 160 / ratio, 160 / ratio], axis=1)
