"""A labelled set, of whatever format: pictures, the objects on them, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from deepmask.coco.segmentation import encode
from deepmask.coco.values import Box
from deepmask.runtime.errors import printable

#: What a problem is about; "crowd": anything about a crowd, "mismatch": box and outline differ.
Kind = Literal[
    "image", "file", "id", "repeated", "box", "empty", "outline", "area", "category", "crowd",
    "mismatch", "orientation",
]  # fmt: skip
#: What a problem costs: what it is about, nothing once it is mended, or nothing at all.
Effect = Literal["left out", "mended", "note"]


@dataclass(frozen=True, slots=True)
class Image:
    """One picture of a set.

    path           where it lies; relative to the folder of pictures if the reader was given none.
    width, height  pixels, as annotated.
    as_stored      whether its labels belong to the pixels as stored, without the turn that EXIF
                   asks for; None where the sizes are to tell.
    """

    id: int
    path: Path
    width: int
    height: int
    as_stored: bool | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object on an image, or a crowd: what can be learned from and measured.

    id            no other annotation of the set has it.
    crowd         a region of objects not outlined one by one: neither learned nor measured.
    area          square pixels: it decides between small, medium and large.
    box           x, y, width, height in pixels.
    segmentation  polygons, or an RLE (compressed or not), that `encode` takes; None for a box only,
                  as all objects of a set without outlines have.
    """

    id: int
    image: Image
    category: int
    crowd: bool
    area: float
    box: Box
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


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry that was left out, as something may be there: it is neither object nor background.

    annotation  its id, if it has one.
    image       None if it is on none of the set.
    boxes       where it may be, each x, y, width, height; the whole picture if that is not known.
    reason      why it was left out.
    """

    annotation: int | None
    image: Image | None
    boxes: tuple[Box, ...]
    reason: Kind


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a set; an id is None where it is about none, or one that is unknown.

    effect  what it costs.
    source  the file and place it is about, of formats that have many files.
    """

    kind: Kind
    annotation: int | None
    image: int | None
    text: str
    effect: Effect = "left out"
    source: str = ""

    def __str__(self) -> str:
        """One line."""
        named = (("annotation", self.annotation), ("image", self.image))
        ids = ", ".join(f"{what} {number}" for what, number in named if number is not None)
        where = self.source or ids
        return printable(f"{where}: {self.text}" if where else self.text)


@dataclass(frozen=True)
class LabelledSet:
    """Images and what is annotated on them; `problems` lists what is wrong, and why.

    instances   the objects and crowds that can be used, in the order of the file.
    ignored     the other entries, so that both are as many as the file has.
    lost_images what is wrong with each image that was left out.
    categories  names of the categories by id, where the file gives them.
    name        of the file or folder.
    digest      SHA-256 of what was read, in hexadecimal.
    """

    images: tuple[Image, ...]
    instances: tuple[Annotation, ...]
    problems: tuple[Problem, ...] = ()
    categories: Mapping[int, str] = field(default_factory=dict)
    name: str = ""
    digest: str = ""
    ignored: tuple[Ignored, ...] = ()
    lost_images: tuple[Problem, ...] = ()

    @property
    def objects(self) -> tuple[Annotation, ...]:
        """The instances that are no crowds."""
        return tuple(item for item in self.instances if not item.crowd)

    def by_image(self) -> Mapping[int, Sequence[Annotation]]:
        """Return the instances of each image id; images without any have an empty list."""
        groups: dict[int, list[Annotation]] = {image.id: [] for image in self.images}
        for instance in self.instances:
            groups[instance.image.id].append(instance)
        return groups

    def unknown_by_image(self) -> Mapping[int, Sequence[Box]]:
        """Return, for each image id, boxes in which nothing may be taken for background.

        They are crowds, and entries that were left out.
        """
        groups: dict[int, list[Box]] = {image.id: [] for image in self.images}
        for item in self.instances:
            if item.crowd:
                groups[item.image.id].append(item.box)
        for left in self.ignored:
            if left.image is not None:
                groups[left.image.id] += left.boxes
        if len({image.path for image in self.images}) < len(self.images):
            self._add_twins(groups)
        return groups

    def _add_twins(self, groups: dict[int, list[Box]]) -> None:
        """Add what is labelled under another id of the same picture."""
        own = {key: list(boxes) for key, boxes in groups.items()}
        for item in self.objects:
            own[item.image.id].append(item.box)
        same: dict[Path, list[int]] = {}
        for image in self.images:
            same.setdefault(image.path, []).append(image.id)
        for ids in same.values():
            for one in ids:
                groups[one] += [box for other in ids if other != one for box in own[other]]


def some_problems(problems: Sequence[Problem], most: int = 3) -> str:
    """Return the first problems in one line."""
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(map(str, problems[:most])) + more


def full_mask(annotation: Annotation) -> NDArray[np.uint8]:
    """Return the mask over the whole image: uint8 (height, width), 0 or 1."""
    image = annotation.image
    rle = encode(annotation.segmentation, image.height, image.width)
    mask: NDArray[np.uint8] = coco_mask.decode(rle)
    return mask
