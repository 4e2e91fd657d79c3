"""Outline the objects of a folder of photographs for people to correct and name.

    python preannotate.py photographs/ annotations.json

Writes a COCO instances file with one polygon or more an object, all of the category "object". CVAT
takes it by Upload annotations, format COCO 1.0, into a task with these photographs and a label
`object`. Label Studio reads it after `label-studio-converter import coco -i annotations.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deepmask import DeepMask, Proposals, read_image
from deepmask.runtime.io.polygons import outline


def annotations_of(objects: Proposals, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """Return COCO's annotation of each object: polygons in pixels, box XYWH, area."""
    return [
        {
            "id": first_id + index,
            "image_id": image_id,
            "category_id": 1,
            "segmentation": [ring.round(2).ravel().tolist() for ring in outline(mask)],
            "bbox": objects.boxes[index].tolist(),
            "area": int(objects.areas[index]),
            "iscrowd": 0,
        }
        for index, mask in enumerate(objects.encoded)
    ]


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="Model folder; by default the shipped model.")
    parser.add_argument("--top", type=int, default=20, help="Most objects of a photograph.")
    parser.add_argument("--suffix", default=".jpg", help="Of the photographs. Default: .jpg")
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"{given.out} exists: give another name")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with DeepMask.load(given.model) as model:
        for path in sorted(given.folder.rglob(f"*{given.suffix}")):
            objects = model(read_image(path)).objects(given.top)
            height, width = objects.image_size
            name = path.relative_to(given.folder).as_posix()
            images.append(
                {"id": len(images) + 1, "file_name": name, "height": height, "width": width}
            )
            annotations += annotations_of(objects, len(images), len(annotations) + 1)
    categories = [{"id": 1, "name": "object"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    given.out.write_text(json.dumps(content))
    print(f"{len(annotations)} objects in {len(images)} photographs: {given.out}")


if __name__ == "__main__":
    main()
