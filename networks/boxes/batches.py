"""Batches of Fast R-CNN: whole pictures as at test time, perhaps mirrored, and what is on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepmask.coco.annotations import Image as Labelled
from deepmask.coco.annotations import LabelledSet
from deepmask.coco.pictures import read_picture
from deepmask.coco.values import Box
from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.family import TensorBatch, TrainingData
from deepmask.networks.levels import STRIDES
from deepmask.networks.patches.crops import ByteCache
from deepmask.networks.whole.view import Image, View, paint

#: Longer side in pixels at which a picture is seen, in training and at test time.
LONGER_SIDE = 1024


@dataclass(frozen=True)
class BoxBatch(TensorBatch):
    """A batch, or a process's share of it; lists have one entry a picture.

    images    (H, W, 3) uint8 RGB; H and W are multiples of the coarsest stride.
    sizes     (2,) int64: height and width that the picture fills.
    boxes     (m, 4) float32: x0, y0, x1, y1 of the objects, in pixels of the canvas.
    category  (m,) int64 of each, 1 to C.
    crowds    (c, 4) float32: where nothing is background.
    complete  () bool: whether every object is labelled.
    whole     pictures in the whole batch.
    """

    images: list[Tensor]
    sizes: list[Tensor]
    boxes: list[Tensor]
    category: list[Tensor]
    crowds: list[Tensor]
    complete: list[Tensor]
    whole: int


@dataclass(frozen=True)
class _Picture:
    image: Labelled
    boxes: list[Box]
    category: list[int]
    crowds: list[Box]
    complete: bool


def box_batches(
    data: TrainingData, config: FastRcnnConfig, recipe: FastRcnnRecipe
) -> Callable[[int], BoxBatch]:
    """Return the function from a step to its batch.

    Raises ValueError for sets without an object, and for a batch with fewer pictures than there are
    processes.
    """
    cache: ByteCache[Image] = ByteCache(data.cache_bytes, lambda image: image.nbytes)
    numbers = {number: k + 1 for k, number in enumerate(config.category_ids)}
    complete = _pictures(data.labelled, numbers, complete=True)
    partly = [p for found in data.partly for p in _pictures(found, numbers, complete=False)]
    partly = [picture for picture in partly if picture.boxes]
    if not any(picture.boxes for picture in [*complete, *partly]):
        raise ValueError("no object to learn from: every annotation is a crowd or left out")
    if recipe.batch < data.size:
        raise ValueError(f"batch is {recipe.batch}: raise --batch to one picture a process or more")

    def sample(rng: np.random.Generator) -> tuple[_Picture, Image, View]:
        first = bool(rng.random() < recipe.complete_share)
        pool = complete if complete and (first or not partly) else partly
        picture = pool[int(rng.integers(len(pool)))]
        image = cache.get(picture.image, lambda: read_picture(picture.image))
        view = whole_view(*image.shape[:2], mirrored=bool(rng.random() < 0.5))
        return picture, image, view

    def batch(step: int) -> BoxBatch:
        mine = range(data.rank, recipe.batch, data.size)
        drawn = [sample(np.random.default_rng((data.seed, step, k))) for k in mine]
        objects = [_objects(picture, view) for picture, _, view in drawn]
        return BoxBatch(
            [torch.from_numpy(paint(image, view, _canvas(view))) for _, image, view in drawn],
            [torch.tensor([view.height, view.width]) for _, _, view in drawn],
            [boxes for boxes, _ in objects],
            [category for _, category in objects],
            [_moved(picture.crowds, view) for picture, _, view in drawn],
            [torch.tensor(picture.complete) for picture, _, _ in drawn],
            recipe.batch,
        )

    return batch


def whole_view(height: int, width: int, *, mirrored: bool) -> View:
    """Return the view of a whole picture, its longer side at `LONGER_SIDE`."""
    scale = LONGER_SIDE / max(height, width)
    h, w = (max(1, int(scale * side + 0.5)) for side in (height, width))
    return View(w / width, h / height, 0, 0, w, h, mirrored)


def _canvas(view: View) -> tuple[int, int]:
    multiple = STRIDES[-1]
    return -(-view.height // multiple) * multiple, -(-view.width // multiple) * multiple


def _objects(picture: _Picture, view: View) -> tuple[Tensor, Tensor]:
    """Return boxes and categories of the objects that are a pixel wide and high, or more."""
    boxes = _moved(picture.boxes, view)
    seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    return boxes[seen], torch.tensor(picture.category, dtype=torch.int64)[seen]


def _moved(boxes: list[Box], view: View) -> Tensor:
    moved = view.boxes(np.array(boxes, np.float64).reshape(-1, 4))
    moved[:, 0::2] = moved[:, 0::2].clip(0, view.width)
    moved[:, 1::2] = moved[:, 1::2].clip(0, view.height)
    return torch.from_numpy(moved).float()


def _pictures(found: LabelledSet, numbers: dict[int, int], *, complete: bool) -> list[_Picture]:
    annotations, unknown = found.by_image(), found.unknown_by_image()
    pictures = []
    for image in found.images:
        objects = [one for one in annotations[image.id] if not one.crowd]
        known = [one for one in objects if one.category in numbers and min(one.box[2:]) > 0]
        pictures.append(
            _Picture(
                image,
                [one.box for one in known],
                [numbers[one.category] for one in known],
                list(unknown[image.id]),
                complete,
            )
        )
    return pictures
