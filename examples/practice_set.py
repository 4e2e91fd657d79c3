"""Draw a small labelled set to try the commands on: shapes on noise, outlined without a mistake.

    python practice_set.py

Makes instances_train.json with train/ and instances_val.json with val/ in the working folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image


def draw(
    rng: np.random.Generator, height: int, width: int
) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.float64]]]:
    """Draw polygons on noise; return the picture, (H, W, 3) uint8 RGB, and each one's corners."""
    picture = rng.integers(90, 160, (height, width, 3)).astype(np.uint8)
    shapes = []
    columns, rows = width // 80, height // 80
    for place in rng.permutation(columns * rows)[:4]:
        centre = 80 * np.array([place % columns, place // columns]) + 40
        angles = np.sort(rng.uniform(0, 2 * np.pi, 8))
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        corners = centre + rng.uniform(16, 34) * circle
        colour = rng.integers(0, 255, 3).tolist()
        cv2.fillPoly(picture, [corners.round().astype(np.int32)], colour)
        shapes.append(corners)
    return picture, shapes


def annotation(corners: npt.NDArray[np.float64], image_id: int, number: int) -> dict[str, Any]:
    low, high = corners.min(0), corners.max(0)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": float(cv2.contourArea(corners.astype(np.float32))),
        "iscrowd": 0,
        "segmentation": [corners.ravel().tolist()],
    }


def write_set(name: str, count: int, seed: int) -> None:
    """Write a set of `count` pictures; raises `FileExistsError` if its folder is there."""
    rng = np.random.default_rng(seed)
    folder = Path(name)
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, count + 1):
        height, width = (int(side) for side in rng.integers(240, 400, 2))
        picture, shapes = draw(rng, height, width)
        file_name = f"{image_id:012d}.png"
        Image.fromarray(picture).save(folder / file_name)
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for corners in shapes:
            annotations.append(annotation(corners, image_id, len(annotations) + 1))
    categories = [{"id": 1, "name": "shape"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    Path(f"instances_{name}.json").write_text(json.dumps(content))


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--train", type=int, default=40, help="Pictures to train on. Default: 40")
    parser.add_argument("--val", type=int, default=8, help="Pictures to measure on. Default: 8")
    given = parser.parse_args()
    for name in ("train", "val"):
        if Path(name).exists() or Path(f"instances_{name}.json").exists():
            parser.error(f"{name} or instances_{name}.json exists: run this in another folder")
    write_set("train", given.train, seed=0)
    write_set("val", given.val, seed=1)
    print(f"{given.train} pictures in train/, {given.val} in val/")


if __name__ == "__main__":
    main()
