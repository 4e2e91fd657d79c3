"""Ground truth: the labelled objects of a set of images, read once and kept small."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask

from deepmask.coco.segmentation import Rle, to_rle
from deepmask.evaluate.errors import EvalError
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.images import MAX_PIXELS

#: Larger sides are no photograph, and their masks overflow the 32-bit runs of an RLE.
LARGEST_SIDE = 30_000
#: Larger files, in bytes, are not taken into memory: COCO's own have half a gigabyte.
LARGEST_FILE = 4 << 30
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "area", "bbox", "iscrowd", "segmentation")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of the set. `width` and `height` are 0 where the annotations do not say."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """One labelled object that counts: neither a crowd nor marked difficult.

    box           x, y, width, height in pixels.
    area          square pixels, as annotated: it decides between small, medium and large.
    segmentation  polygons or RLE as in the file, or None.
    """

    id: int
    category: int
    area: float
    box: tuple[float, float, float, float]
    segmentation: Any


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image, in the order in which COCOeval visits them.

    ids (g,) int64, areas (g,) float64, boxes (g, 4) float64 XYWH, rles: g masks, or None.
    """

    ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    rles: list[Rle] | None


@dataclass(frozen=True)
class GroundTruth:
    """A labelled set. `kinds` is what can be measured on it: ("segm", "bbox") or ("bbox",)."""

    name: str
    digest: str
    dataset: str
    kinds: tuple[str, ...]
    pictures: Mapping[int, Picture]
    annotations: Mapping[int, Sequence[Annotation]]

    def objects(self, image_id: int) -> Objects:
        """The objects of an image; raises `EvalError` naming an annotation that is no mask."""
        picture = self.pictures[image_id]
        # COCOeval with useCats=0 goes through the categories in order; between equal IoUs the later
        # object wins, so the order is part of the result.
        kept = sorted(self.annotations.get(image_id, ()), key=lambda a: a.category)
        rles: list[Rle] | None = None
        if "segm" in self.kinds:
            rles = []
            for annotation in kept:
                try:
                    rles.append(to_rle(annotation.segmentation, picture.height, picture.width))
                except ValueError as error:
                    raise EvalError(
                        f"{self.name}: annotation {annotation.id}: its segmentation {error}"
                    ) from None
        return Objects(
            ids=np.array([a.id for a in kept], np.int64),
            areas=np.array([a.area for a in kept], np.float64),
            boxes=np.array([a.box for a in kept], np.float64).reshape(-1, 4),
            rles=rles,
        )


def read_coco(path: Path) -> GroundTruth:
    """Read an instances file in COCO format. Raises `EvalError` naming what is wrong with it."""
    content = _parse(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise EvalError(
            f'{path}: not a COCO annotation file: it must hold an object with "images" and '
            '"annotations" (a list of results belongs to --proposals-json)'
        )
    if not isinstance(content.get("annotations"), list):
        raise EvalError(f'{path}: has no "annotations" list, so there is nothing to measure')
    pictures: dict[int, Picture] = {}
    for entry in content["images"]:
        picture = _picture(path, entry)
        if picture.id in pictures:
            raise EvalError(f"{path}: two images have the id {picture.id}")
        pictures[picture.id] = picture
    if not pictures:
        raise EvalError(f'{path}: its "images" list is empty')
    annotations: dict[int, list[Annotation]] = {}
    unmasked = 0
    for entry in content["annotations"]:
        image_id, annotation = _annotation(path, entry, pictures)
        if annotation is not None:
            annotations.setdefault(image_id, []).append(annotation)
            unmasked += not annotation.segmentation
    kinds = ("bbox",) if unmasked else ("segm", "bbox")
    return GroundTruth(path.name, sha256_of(path), "coco", kinds, pictures, annotations)


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise EvalError(f"{path}: is over {LARGEST_FILE >> 30} GiB, too large to be read")
        with path.open(encoding="utf-8") as file:
            return json.load(file, object_hook=_lean)
    except OSError as error:
        raise EvalError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise EvalError(f"{path}: is nested too deeply for a COCO file") from None
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise EvalError(f"{path}: is not valid JSON: {error}") from None


def _lean(entry: dict[str, Any]) -> dict[str, Any]:
    """Shrink an annotation as soon as it is parsed: lists of floats cost five times the file."""
    if "image_id" in entry:
        entry = {key: entry[key] for key in _ANNOTATION_KEYS if key in entry}
        if isinstance(entry.get("segmentation"), list):
            entry["segmentation"] = [_packed("d", part) for part in entry["segmentation"]]
    elif "counts" in entry:
        entry["counts"] = _packed("q", entry["counts"])
    return entry


def _packed(code: str, values: Any) -> Any:
    """A list as an array; what does not fit stays as it is, to be refused by name later."""
    if not isinstance(values, list):
        return values
    try:
        return array(code, values)
    except (TypeError, OverflowError):
        return values


def _picture(path: Path, entry: Any) -> Picture:
    if not isinstance(entry, dict) or not is_id(entry.get("id")):
        raise EvalError(f"{path}: an image has no whole number as its id")
    number, name = entry["id"], entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise EvalError(f"{path}: image {number} has no file_name")
    if leaves_folder(name):
        raise EvalError(f"{path}: image {number}: file_name {name!r} leaves the image folder")
    sides = (entry.get("width"), entry.get("height"))
    if not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in sides):
        raise EvalError(
            f"{path}: image {number}: width and height must be whole numbers of pixels from 1 to "
            f"{LARGEST_SIDE}, not {sides[0]!r:.20} and {sides[1]!r:.20}"
        )
    width, height = int(sides[0] or 0), int(sides[1] or 0)
    if width * height > MAX_PIXELS:
        raise EvalError(
            f"{path}: image {number}: {width} x {height} are more than the "
            f"{MAX_PIXELS / 1e6:g} megapixels that are read"
        )
    return Picture(number, name, width, height)


def leaves_folder(name: str) -> bool:
    """Whether a file name of a labelled set points out of the folder of its images."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or "\0" in name


def _annotation(
    path: Path, entry: Any, pictures: Mapping[int, Picture]
) -> tuple[int, Annotation | None]:
    """The image an annotation belongs to, and the annotation; None for a crowd."""
    if not isinstance(entry, dict) or not is_id(entry.get("id")):
        raise EvalError(f"{path}: an annotation has no whole number as its id")
    number, image_id = entry["id"], entry.get("image_id")
    if type(image_id) is not int or image_id not in pictures:
        raise EvalError(
            f'{path}: annotation {number} names image {image_id!r:.30}, which is not in "images"'
        )
    if entry.get("iscrowd"):
        return image_id, None
    segmentation = entry.get("segmentation")
    box: Any = entry.get("bbox")
    if not box and segmentation:
        box = _tight_box(path, number, segmentation, pictures[image_id])
    if not is_box(box):
        raise EvalError(
            f"{path}: annotation {number}: bbox must be four finite numbers x, y, width, height, "
            f"not {box!r:.60}"
        )
    area: Any = entry.get("area", box[2] * box[3])
    if type(area) not in (int, float) or not 0 <= area < 1e15:
        raise EvalError(f"{path}: annotation {number}: area is {area!r:.30}")
    category = entry.get("category_id", 0)
    if not is_id(category):
        raise EvalError(f"{path}: annotation {number}: category_id is {category!r:.30}")
    x, y, width, height = (float(value) for value in box)
    return image_id, Annotation(number, category, area, (x, y, width, height), segmentation)


def is_id(value: Any) -> bool:
    """Whether a value read from JSON is a whole number of 64 bits."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def is_box(box: Any) -> bool:
    """Whether a value read from JSON is x, y, width, height: finite, of a sane size, sides ≥ 0."""
    if not isinstance(box, list) or len(box) != 4:
        return False
    if not all(type(value) in (int, float) and abs(value) < 1e9 for value in box):
        return False
    return bool(box[2] >= 0 and box[3] >= 0)


def _tight_box(path: Path, number: int, segmentation: Any, picture: Picture) -> list[float]:
    try:
        rle = to_rle(segmentation, picture.height, picture.width)
    except ValueError as error:
        raise EvalError(f"{path}: annotation {number}: its segmentation {error}") from None
    return [float(value) for value in coco_mask.toBbox(rle)]
