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

#: What a problem is about; "crowd": anything about a crowd.
Kind = Literal[
    "image", "file", "id", "repeated", "box", "empty", "outline", "area", "category", "crowd"
]


@dataclass(frozen=True, slots=True)
class Image:
    """One picture of a set.

    path           where it lies; relative to the folder of pictures if the reader was given none.
    width, height  pixels, as annotated.
    """

    id: int
    path: Path
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """One entry of a set that says where something is on an image.

    crowd         a region of objects not outlined one by one: neither learned nor measured.
    area          square pixels, as annotated: it decides between small, medium and large.
    box           x, y, width, height in pixels.
    segmentation  COCO's: a list of polygons, or an RLE (compressed or not); None for a box only.
    flaw          the kind of the problem it has, if any: training does not learn from it then.
    """

    id: int
    image: Image
    category: int
    crowd: bool
    area: float
    box: Box
    segmentation: Any = field(repr=False, compare=False)
    flaw: Kind | None = None

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
class Problem:
    """One thing wrong with a set; an id is None where it is about none, or one that is unknown."""

    kind: Kind
    annotation: int | None
    image: int | None
    text: str

    def __str__(self) -> str:
        """One line."""
        named = (("annotation", self.annotation), ("image", self.image))
        where = ", ".join(f"{what} {number}" for what, number in named if number is not None)
        return printable(f"{where}: {self.text}" if where else self.text)


@dataclass(frozen=True)
class LabelledSet:
    """Images and what is annotated on them; `problems` lists what is wrong, and why.

    annotations  every entry with an image and a box, in the order of the file, flawed or not.
    categories   names of the categories by id, where the file gives them.
    name         of the file or folder.
    digest       SHA-256 of what was read, in hexadecimal.
    """

    images: tuple[Image, ...]
    annotations: tuple[Annotation, ...]
    problems: tuple[Problem, ...] = ()
    categories: Mapping[int, str] = field(default_factory=dict)
    name: str = ""
    digest: str = ""

    @property
    def instances(self) -> tuple[Annotation, ...]:
        """The annotations without a flaw: objects to learn from, and crowds."""
        return tuple(item for item in self.annotations if item.flaw is None)

    def by_image(self) -> Mapping[int, Sequence[Annotation]]:
        """Return the instances of each image id; images without any have an empty list."""
        groups: dict[int, list[Annotation]] = {image.id: [] for image in self.images}
        for instance in self.instances:
            groups[instance.image.id].append(instance)
        return groups


def full_mask(annotation: Annotation) -> NDArray[np.uint8]:
    """Return the mask over the whole image: uint8 (height, width), 0 or 1."""
    image = annotation.image
    rle = encode(annotation.segmentation, image.height, image.width)
    mask: NDArray[np.uint8] = coco_mask.decode(rle)
    return mask
