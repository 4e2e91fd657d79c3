"""Read labels of any format that is known, which the file or folder itself tells."""

from __future__ import annotations

from pathlib import Path

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.errors import LabelError
from deepmask.coco.labelme import is_labelme, read_labelme
from deepmask.coco.reader import read_coco
from deepmask.coco.values import FORMATS
from deepmask.coco.voc import ANNOTATIONS, read_voc
from deepmask.coco.yolo import is_yolo, read_yolo


def read_labels(
    path: Path, images: Path | None = None, as_stored: bool | None = None
) -> LabelledSet:
    """Read a labelled set whose pictures lie in the folder `images`.

    path  an instances file of COCO, a folder of labelme's JSON, the data.yaml of YOLO or a folder
          of its labels, or a list in ImageSets of a VOC folder (of ImageSets/Segmentation with
          masks), or that folder for its test list.

    Raises `LabelError` for what is none of these, or has no usable image.
    """
    if path.is_file() and path.suffix.lower() == ".txt" and path.parent.parent.name == "ImageSets":
        return read_voc(path.parents[2], path, images, as_stored)
    if path.is_dir() and (path / ANNOTATIONS).is_dir():
        return read_voc(path, None, images, as_stored)
    if path.is_dir() and is_labelme(path):
        return read_labelme(path, images, as_stored)
    if (path.is_dir() or path.is_file()) and is_yolo(path):
        return read_yolo(path, images, as_stored)
    if path.is_dir():
        raise LabelError(f"{path}: holds no labels that are known: give {FORMATS}")
    return read_coco(path, images, as_stored)
