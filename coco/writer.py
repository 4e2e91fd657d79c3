"""Write a labelled set as COCO's instances JSON, whatever format it was read from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deepmask.coco.annotations import Annotation, Image, LabelledSet
from deepmask.coco.segmentation import encode
from deepmask.coco.values import Box
from deepmask.runtime.io.written import write_known


def write_coco(path: Path, found: LabelledSet, images: Path | None = None) -> None:
    """Write what can be used of a set, file names relative to the folder `images`.

    Entries that were left out become crowds over their place, so that reading the file again
    spares them, too.
    """
    content = {
        "images": [
            {
                "id": image.id,
                "file_name": (
                    image.path if images is None else image.path.relative_to(images)
                ).as_posix(),
                "width": image.width,
                "height": image.height,
            }
            for image in found.images
        ],
        "annotations": [*map(_entry, found.instances), *_spared(found)],
        "categories": _categories(found),
    }
    write_known(path, json.dumps(content).encode())


def _entry(item: Annotation) -> dict[str, Any]:
    entry = {
        "id": item.id,
        "image_id": item.image.id,
        "category_id": item.category,
        "bbox": list(item.box),
        "area": item.area,
        "iscrowd": int(item.crowd),
    }
    if item.segmentation is None:
        return entry
    if isinstance(item.segmentation, list) and not item.crowd:
        return {**entry, "segmentation": [list(polygon) for polygon in item.segmentation]}
    rle = encode(item.segmentation, item.image.height, item.image.width)
    return {**entry, "segmentation": {**rle, "counts": rle["counts"].decode()}}


def _spared(found: LabelledSet) -> list[dict[str, Any]]:
    first = 1 + max([item.id for item in found.instances], default=0)
    places = [(left.image, box) for left in found.ignored if left.image for box in left.boxes]
    return [_region(first + number, *place) for number, place in enumerate(places)]


def _region(identity: int, image: Image, box: Box) -> dict[str, Any]:
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right = max(left, min(image.width, box[0] + box[2]))
    bottom = max(top, min(image.height, box[1] + box[3]))
    width, height = right - left, bottom - top
    return {
        "id": identity,
        "image_id": image.id,
        "category_id": 1,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 1,
        "segmentation": _rectangle((left, top, width, height), image),
    }


def _rectangle(box: Box, image: Image) -> dict[str, Any]:
    x, y, w, h = box
    rle = encode([[x, y, x + w, y, x + w, y + h, x, y + h]], image.height, image.width)
    return {**rle, "counts": rle["counts"].decode()}


def _categories(found: LabelledSet) -> list[dict[str, Any]]:
    used = {item.category for item in found.instances} | set(found.categories) | {1}
    return [{"id": one, "name": found.categories.get(one, str(one))} for one in sorted(used)]
