"""Cut each object out of a photograph as a picture of its own, with what is around it.

    python crop_objects.py photograph.jpg crops/

For cut-outs without their background: deepmask-trt-run photograph.jpg --format cutout
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepmask import DeepMask, read_image


def crop(
    image: npt.NDArray[np.uint8], box: npt.NDArray[np.float64], margin: float
) -> npt.NDArray[np.uint8]:
    """Return the part of an image, (H, W, 3), in a box XYWH grown by a share of its size."""
    x, y, width, height = box
    left, top = int(max(0, x - margin * width)), int(max(0, y - margin * height))
    right, bottom = int(x + (1 + margin) * width), int(y + (1 + margin) * height)
    return image[top : bottom + 1, left : right + 1]


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("out", type=Path, help="New folder for the crops.")
    parser.add_argument("--model", type=Path, help="Model folder; by default the shipped model.")
    parser.add_argument("--margin", type=float, default=0.1, help="Share of the box. Default: 0.1")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    image = read_image(given.photograph)
    with DeepMask.load(given.model) as model:
        objects = model(image).objects()
    for number, (box, score) in enumerate(zip(objects.boxes, objects.scores, strict=True), 1):
        path = given.out / f"{given.photograph.stem}-{number:02d}.png"
        Image.fromarray(crop(image, box, given.margin)).save(path)
        print(f"{path}  score {score:.2f}")


if __name__ == "__main__":
    main()
