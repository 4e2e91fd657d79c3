"""Pictures whose objects have names, to draw from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepmask.coco.annotations import Image, LabelledSet
from deepmask.coco.values import Box
from deepmask.networks.boxes.config import CategoriesConfig
from deepmask.networks.family import TrainingData
from deepmask.networks.whole.view import View

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NamedPicture:
    """A picture and what is on it; boxes are x, y, width, height in its pixels.

    category  of each of the `boxes`, from 1.
    crowds    where nothing is background.
    labelled  for each category from 1 on, whether every object of it is labelled.
    """

    image: Image
    boxes: Sequence[Box]
    category: Sequence[int]
    crowds: Sequence[Box]
    labelled: tuple[bool, ...]


@dataclass(frozen=True)
class NamedPool:
    """Pictures to draw from: those of the set with every object labelled, and the others."""

    complete: Sequence[NamedPicture]
    partly: Sequence[NamedPicture]

    def draw(self, complete_share: float, rng: np.random.Generator) -> NamedPicture:
        """Draw a picture, of the complete ones in that share of the draws."""
        complete = bool(rng.random() < complete_share)
        chosen = self.complete if self.complete and (complete or not self.partly) else self.partly
        return chosen[int(rng.integers(len(chosen)))]


def seen_boxes(boxes: Sequence[Box] | Floats, view: View) -> Floats:
    """Return n boxes, x, y, width, height in a picture, as a view shows them, cut to it.

    (n, 4) x0, y0, x1, y1 in pixels of the view; what lies beside it has no width or height.
    """
    shown = view.boxes(np.array(boxes, np.float64).reshape(-1, 4))
    return np.clip(shown, 0, [view.width, view.height] * 2)


def numbers_of(config: CategoriesConfig) -> dict[int, int]:
    """Return the number of each category, from 1, by its id."""
    return {number: k for k, number in enumerate(config.category_ids, 1)}


def named_pool(data: TrainingData, numbers: Mapping[int, int]) -> NamedPool:
    """Return the pictures of the data; `numbers` has a category, from 1, for each of their ids.

    A set in which every object is labelled tells what is background for the categories that it
    lists, or has objects of; for others, which only another set has, it does not.

    Raises ValueError for data without an object.
    """
    complete = _pictures(data.labelled, numbers, complete=True)
    partly = [p for found in data.partly for p in _pictures(found, numbers, complete=False)]
    partly = [picture for picture in partly if picture.boxes]
    if not any(picture.boxes for picture in [*complete, *partly]):
        raise ValueError("no object to learn from: every annotation is a crowd or left out")
    return NamedPool(complete, partly)


def require_background(data: TrainingData, numbers: Mapping[int, int]) -> None:
    """Raise ValueError for data of which no picture has all these categories labelled.

    For networks that tell objects from background, whatever their category.
    """
    missing = _unlisted(data.labelled, numbers)
    if missing:
        names = {k: v for found in reversed(data.partly) for k, v in found.categories.items()}
        called = ", ".join(names.get(number, str(number)) for number in missing[:5])
        raise ValueError(
            f"{len(missing)} categories ({called}) are in --mask-annotations only, so that no "
            "picture tells what is background: leave them out by --categories, or label them in "
            "--train-annotations"
        )


def _unlisted(found: LabelledSet, numbers: Mapping[int, int]) -> list[int]:
    """Return the ids that a set neither lists nor has objects of."""
    listed = {*found.categories, *(one.category for one in found.instances)}
    return sorted(numbers.keys() - listed)


def _pictures(
    found: LabelledSet, numbers: Mapping[int, int], *, complete: bool
) -> list[NamedPicture]:
    annotations, unknown = found.by_image(), found.unknown_by_image()
    missing = {numbers[one] for one in _unlisted(found, numbers)}
    labelled = tuple(complete and k not in missing for k in sorted(set(numbers.values())))
    pictures = []
    for image in found.images:
        objects = [one for one in annotations[image.id] if not one.crowd]
        known = [one for one in objects if one.category in numbers and min(one.box[2:]) > 0]
        pictures.append(
            NamedPicture(
                image,
                [one.box for one in known],
                [numbers[one.category] for one in known],
                list(unknown[image.id]),
                labelled,
            )
        )
    return pictures
