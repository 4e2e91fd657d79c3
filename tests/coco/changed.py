"""A labelled set with something changed, as the tests of its reader take it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.reader import read_coco
from tests.evaluate.scenes import write

Drawn = tuple[Path, Path]
Json = dict[str, Any]
Changed = Callable[[Json], LabelledSet]

IMAGE = {"id": 1, "file_name": "a/1.png", "width": 30, "height": 20}
OBJECT = {
    "id": 5,
    "image_id": 1,
    "category_id": 1,
    "bbox": [1, 2, 3, 4],
    "area": 12,
    "iscrowd": 0,
    "segmentation": [[1, 2, 4, 2, 4, 6, 1, 6]],
}


def read(content: Any, drawn: Drawn, tmp_path: Path) -> LabelledSet:
    return read_coco(write(tmp_path / "changed.json", content), drawn[1])


def read_one(tmp_path: Path, **changes: Any) -> LabelledSet:
    """A set of one image and one object, its folder not given."""
    labels = {"images": [IMAGE], "annotations": [{**OBJECT, **changes}]}
    return read_coco(write(tmp_path / "one.json", labels))
