"""Batches of Fast R-CNN: whole pictures as at test time, perhaps mirrored, and what is on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.coco.pictures import read_picture
from deepmask.coco.values import Box
from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.boxes.pictures import (
    NamedPicture,
    named_pool,
    numbers_of,
    require_background,
    seen_boxes,
)
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.family import TensorBatch, TrainingData
from deepmask.networks.levels import STRIDES
from deepmask.networks.patches.crops import ByteCache
from deepmask.networks.whole.view import Image, View, paint

#: Longer side in pixels at which a picture is seen, in training and at test time.
LONGER_SIDE = 1024
#: Best proposals of a picture that boxes are drawn from.
PROPOSALS = 200


@dataclass(frozen=True)
class BoxBatch(TensorBatch):
    """A batch, or a process's share of it; lists have one entry a picture.

    images    (H, W, 3) uint8 RGB; H and W are multiples of the coarsest stride.
    sizes     (2,) int64: height and width that the picture fills.
    boxes     (m, 4) float32: x0, y0, x1, y1 of the objects, in pixels of the canvas.
    category  (m,) int64 of each, 1 to C.
    crowds    (c, 4) float32: where nothing is background.
    complete  () bool: whether every object is labelled.
    proposed  (p, 4) float32: boxes that were proposed before; no list where there are none.
    whole     pictures in the whole batch.
    """

    images: list[Tensor]
    sizes: list[Tensor]
    boxes: list[Tensor]
    category: list[Tensor]
    crowds: list[Tensor]
    complete: list[Tensor]
    proposed: list[Tensor] | None
    whole: int


def box_batches(
    data: TrainingData, config: FastRcnnConfig, recipe: FastRcnnRecipe
) -> Callable[[int], BoxBatch]:
    """Return the function from a step to its batch.

    Raises ValueError as `named_pool` and `require_background` do, and for a batch with fewer
    pictures than there are processes.
    """
    cache: ByteCache[Image] = ByteCache(data.cache_bytes, lambda image: image.nbytes)
    numbers = numbers_of(config)
    pool = named_pool(data, numbers)
    require_background(data, numbers)
    if recipe.batch < data.size:
        raise ValueError(f"batch is {recipe.batch}: raise --batch to one picture a process or more")

    def sample(rng: np.random.Generator) -> tuple[NamedPicture, Image, View]:
        picture = pool.draw(recipe.complete_share, rng)
        image = cache.get(picture.image, lambda: read_picture(picture.image))
        view = whole_view(*image.shape[:2], mirrored=bool(rng.random() < 0.5))
        return picture, image, view

    def batch(step: int) -> BoxBatch:
        mine = range(data.rank, recipe.batch, data.size)
        drawn = [sample(np.random.default_rng((data.seed, step, k))) for k in mine]
        objects = [_objects(picture, view) for picture, _, view in drawn]
        return BoxBatch(
            [torch.from_numpy(paint(image, view, canvas_of(view))) for _, image, view in drawn],
            [torch.tensor([view.height, view.width]) for _, _, view in drawn],
            [boxes for boxes, _ in objects],
            [category for _, category in objects],
            [_seen(picture.crowds, view) for picture, _, view in drawn],
            [torch.tensor(all(picture.labelled)) for picture, _, _ in drawn],
            [_proposed(data.proposals, picture, view) for picture, _, view in drawn]
            if data.proposals
            else None,
            recipe.batch,
        )

    return batch


def whole_view(height: int, width: int, *, mirrored: bool) -> View:
    """Return the view of a whole picture, its longer side at `LONGER_SIDE`."""
    scale = LONGER_SIDE / max(height, width)
    h, w = (max(1, int(scale * side + 0.5)) for side in (height, width))
    return View(w / width, h / height, 0, 0, w, h, mirrored)


def canvas_of(view: View) -> tuple[int, int]:
    """Return height and width of the canvas that a view is painted on."""
    multiple = STRIDES[-1]
    return -(-view.height // multiple) * multiple, -(-view.width // multiple) * multiple


def _objects(picture: NamedPicture, view: View) -> tuple[Tensor, Tensor]:
    """Return boxes and categories of the objects that are a pixel wide and high, or more."""
    boxes = _seen(picture.boxes, view)
    seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    return boxes[seen], torch.tensor(picture.category, dtype=torch.int64)[seen]


def _proposed(
    stored: Callable[[int], npt.NDArray[np.float64]], picture: NamedPicture, view: View
) -> Tensor:
    """Return the best proposals that are a pixel wide and high, or more."""
    boxes = _seen(stored(picture.image.id)[:PROPOSALS], view)
    return boxes[((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)]


def _seen(boxes: Sequence[Box] | npt.NDArray[np.float64], view: View) -> Tensor:
    return torch.from_numpy(seen_boxes(boxes, view)).float()
