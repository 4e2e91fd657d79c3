"""COCO-format annotations: read once, checked one by one, masks drawn when they are needed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from deepmask.coco.annotations import LARGEST_FILE, leaves_folder
from deepmask.coco.segmentation import check, encode
from deepmask.runtime.errors import OneLineError, printable
from deepmask.runtime.io.images import MAX_PIXELS

#: Larger sides are no photograph: OpenCV warps none, and their masks overflow 32-bit runs.
LARGEST_SIDE = 30_000


class DataError(OneLineError):
    """Annotations or images that training cannot use; the text names file and id."""


@dataclass(frozen=True)
class Image:
    """One picture of a set; width and height in pixels as annotated."""

    id: int
    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class Instance:
    """One annotated object: `box` is (x, y, width, height) in image pixels.

    `segmentation` is COCO's: a list of polygons, or an RLE (compressed or not).
    """

    id: int
    image: Image
    category: int
    crowd: bool
    area: float
    box: tuple[float, float, float, float]
    segmentation: Any = field(repr=False, compare=False)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) of the box."""
        x, y, width, height = self.box
        return x + width / 2, y + height / 2

    @property
    def side(self) -> float:
        """The box's larger side, which decides the canonical scale (DeepMask §3)."""
        return max(self.box[2], self.box[3])


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an annotation file; `annotation` is None for a bad image entry."""

    annotation: int | None
    image: int | None
    text: str

    def __str__(self) -> str:
        """One line."""
        where = f"annotation {self.annotation!s:.60}, image {self.image!s:.60}"
        return printable(f"{where}: {self.text}")


@dataclass(frozen=True)
class AnnotatedSet:
    """Images and their usable instances; `problems` lists what was left out and why.

    categories  names of the categories by id, where the file gives them.
    """

    images: tuple[Image, ...]
    instances: tuple[Instance, ...]
    problems: tuple[Problem, ...]
    categories: Mapping[int, str] = field(default_factory=dict)

    def by_image(self) -> Mapping[int, Sequence[Instance]]:
        """Instances of each image id; images without any have an empty list."""
        groups: dict[int, list[Instance]] = {image.id: [] for image in self.images}
        for instance in self.instances:
            groups[instance.image.id].append(instance)
        return groups


def read_annotations(annotations: Path, images: Path) -> AnnotatedSet:
    """Read a COCO instances file whose pictures lie in the folder `images`.

    Any categories will do. Bad entries are left out and listed as problems; a file that is no such
    file at all, or holds no picture, raises `DataError`.
    """
    content = _read_json(annotations)
    problems: list[Problem] = []
    found: dict[int, Image] = {}
    for entry in content["images"]:
        image = _image(entry, images, problems)
        if image is None:
            continue
        if image.id in found:
            problems.append(Problem(None, image.id, "this image id was used before"))
        else:
            found[image.id] = image
    if not found:
        raise DataError(
            f"{annotations}: no usable image in it, or none of its files is in {images}"
        )
    instances = tuple(_instances(content["annotations"], found, problems))
    names = _category_names(content.get("categories"))
    return AnnotatedSet(tuple(found.values()), instances, tuple(problems), names)


def full_mask(instance: Instance) -> NDArray[np.uint8]:
    """The instance's mask over its whole image: uint8 (height, width), 0 or 1."""
    height, width = instance.image.height, instance.image.width
    mask: NDArray[np.uint8] = coco_mask.decode(encode(instance.segmentation, height, width))
    return mask


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path}: over {LARGEST_FILE >> 30} GiB, too large to be read")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations")
    ):
        raise DataError(f"{path}: not a COCO instances file (lists 'images' and 'annotations')")
    return content


def _category_names(entries: Any) -> dict[int, str]:
    """Names by id; they are optional, so what is not a category is passed over."""
    if not isinstance(entries, list):
        return {}
    return {
        entry["id"]: entry["name"]
        for entry in entries
        if isinstance(entry, dict)
        and type(entry.get("id")) is int
        and isinstance(entry.get("name"), str)
    }


def _image(entry: Any, folder: Path, problems: list[Problem]) -> Image | None:
    try:
        image = Image(
            int(entry["id"]),
            folder / str(entry["file_name"]),
            int(entry["width"]),
            int(entry["height"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        text = f"image entry without id, file_name, size: {entry!r:.200}"
        problems.append(Problem(None, None, text))
        return None
    if not (0 < image.width <= LARGEST_SIDE and 0 < image.height <= LARGEST_SIDE):
        text = f"size {image.width}×{image.height}, sides must be 1 to {LARGEST_SIDE} px"
        problems.append(Problem(None, image.id, text))
    elif image.width * image.height > MAX_PIXELS:
        text = f"size {image.width}×{image.height}, at most {MAX_PIXELS / 1e6:g} megapixels"
        problems.append(Problem(None, image.id, text))
    elif leaves_folder(str(entry["file_name"])):
        text = f"file name {str(entry['file_name'])[:200]!r} leaves the image folder"
        problems.append(Problem(None, image.id, text))
    elif not _is_file(image.path):
        problems.append(Problem(None, image.id, f"no file {str(image.path)!r:.300}"))
    else:
        return image
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or not of characters a file name can have
        return False


def _instances(
    entries: Sequence[Any], images: Mapping[int, Image], problems: list[Problem]
) -> Iterator[Instance]:
    seen: set[int] = set()
    for entry in entries:
        identity = entry.get("id") if isinstance(entry, dict) else None
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        try:
            instance = _instance(entry, images)
            if instance.id in seen:
                raise ValueError("this annotation id was used before")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            text = f"no key {error}" if isinstance(error, KeyError) else str(error)
            problems.append(Problem(identity, image_id, text))
            continue
        seen.add(instance.id)
        yield instance


def _instance(entry: Mapping[str, Any], images: Mapping[int, Image]) -> Instance:
    """Raise KeyError, TypeError or ValueError, whose text says what is wrong."""
    if entry["image_id"] not in images:
        raise ValueError("its image is not in the file, or the image's file is missing")
    image = images[entry["image_id"]]
    values = [float(value) for value in entry["bbox"]]
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise ValueError(f"bbox {entry['bbox']} is not four numbers (x, y, width, height)")
    x, y, width, height = values
    if width <= 0 or height <= 0:
        raise ValueError(f"bbox {entry['bbox']} is empty")
    if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
        raise ValueError(
            f"bbox {entry['bbox']} lies outside its {image.width}×{image.height} image"
        )
    segmentation = entry["segmentation"]
    try:
        check(segmentation, image.height, image.width)
    except ValueError as error:
        raise ValueError(f"segmentation {error}") from None
    return Instance(
        id=int(entry["id"]),
        image=image,
        category=int(entry.get("category_id", 1)),
        crowd=bool(entry.get("iscrowd", 0)),
        area=float(entry.get("area", width * height)),
        box=(x, y, width, height),
        segmentation=segmentation,
    )
