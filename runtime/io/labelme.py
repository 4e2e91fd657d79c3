"""Labelme's JSON: polygons or rectangles beside a picture, to be corrected by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io.polygons import Shape, outline
from deepmask.runtime.io.relative import relative_path

#: Of labelme, whose format this is.
_VERSION = "5.5.0"


def labelme_json(
    target: Path,
    picture: Path,
    objects: Sequence[Shape],
    scores: npt.NDArray[np.float32],
    size: tuple[int, int],
    names: Sequence[str] = (),
) -> bytes:
    """Return the JSON for N objects, to be written as `target`; its path to `picture` is relative.

    size   (height, width) of the picture, upright.
    names  of the objects; by default all are an "object".
    Parts of one object are polygons of one `group_id`, which is its number from 1 on. A box is a
    rectangle.
    """
    shapes = [
        _shape(points, number, float(score), names[number - 1] if names else "object")
        for number, (one, score) in enumerate(zip(objects, scores, strict=True), 1)
        for points in _corners(one)
    ]
    content: dict[str, Any] = {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": relative_path(picture, target.parent),
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _corners(shape: Shape) -> list[list[list[float]]]:
    """Return the corners of each part; of a rectangle labelme wants two."""
    rings = [ring.tolist() for ring in outline(shape)]
    return rings if isinstance(shape, RLEMask) else [ring[::2] for ring in rings]


def _shape(points: list[list[float]], number: int, score: float, name: str) -> dict[str, Any]:
    return {
        "label": name,
        "points": points,
        "group_id": number,
        "description": f"score {score:.3f}",
        "shape_type": "rectangle" if len(points) == 2 else "polygon",
        "flags": {},
        "mask": None,
    }
