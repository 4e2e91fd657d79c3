"""Batches for networks with anchors: crops of pictures and the objects on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepmask.coco.pictures import read_picture
from deepmask.networks.anchors.assign import Truth
from deepmask.networks.anchors.config import FasterRcnnConfig, RetinaNetConfig, RpnConfig
from deepmask.networks.anchors.recipe import AnchorRecipe, FasterRcnnRecipe
from deepmask.networks.boxes.batches import LONGER_SIDE
from deepmask.networks.boxes.pictures import (
    NamedPicture,
    named_pool,
    numbers_of,
    require_background,
    seen_boxes,
)
from deepmask.networks.family import TensorBatch, TrainingData
from deepmask.networks.patches.crops import ByteCache
from deepmask.networks.whole.view import Image, View, paint, random_view, recoloured

#: Share of the crops that have an object near the middle.
FOCUSED = 0.75
#: An object of which less than this share of its box is seen is neither object nor background; nor
#: is one that is smaller than so many pixels a side.
LEAST_SHARE, LEAST_SIDE = 0.5, 2.0


@dataclass(frozen=True)
class AnchorBatch(TensorBatch):
    """A batch, or a process's share of it: B crops; lists have one entry a crop.

    images      (B, crop, crop, 3) uint8 RGB.
    sizes       (2,) int64: height and width that the picture fills.
    boxes, category, usable, crowds, labelled  see `Truth`.
    whole       crops in the whole batch.
    class_loss  a key of `losses.CLASS_LOSSES`.
    """

    images: Tensor
    sizes: list[Tensor]
    boxes: list[Tensor]
    category: list[Tensor]
    usable: list[Tensor]
    crowds: list[Tensor]
    labelled: list[Tensor]
    whole: int
    class_loss: str

    def truth(self, k: int) -> Truth:
        """Return what lies on a crop."""
        return Truth(
            self.boxes[k], self.category[k], self.usable[k], self.crowds[k], self.labelled[k]
        )


@dataclass(frozen=True)
class FasterBatch(AnchorBatch):
    """The same, and how many of a crop's best proposals are drawn from, how many boxes drawn."""

    proposals: int
    drawn: int


def retinanet_batches(
    data: TrainingData, config: RetinaNetConfig, recipe: AnchorRecipe
) -> Callable[[int], AnchorBatch]:
    """Return the function from a step to its batch; raises ValueError as `anchor_batches` does.

    Each category learns background where it is labelled, whatever others are.
    """
    return anchor_batches(data, numbers_of(config), recipe)


def faster_rcnn_batches(
    data: TrainingData, config: FasterRcnnConfig, recipe: FasterRcnnRecipe
) -> Callable[[int], FasterBatch]:
    """Return the function from a step to its batch.

    Raises ValueError as `anchor_batches` and `require_background` do.
    """
    numbers = numbers_of(config)
    require_background(data, numbers)
    make = anchor_batches(data, numbers, recipe)
    return lambda step: FasterBatch(
        **vars(make(step)), proposals=recipe.best_proposals, drawn=recipe.boxes
    )


def rpn_batches(
    data: TrainingData, config: RpnConfig, recipe: AnchorRecipe
) -> Callable[[int], AnchorBatch]:
    """Return the function from a step to its batch, of objects of any category.

    Raises ValueError as `anchor_batches` and `require_background` do.
    """
    sets = [data.labelled, *data.partly]
    numbers = {one.category: 1 for found in sets for one in found.objects}
    require_background(data, numbers)
    return anchor_batches(data, numbers, recipe)


def anchor_batches(
    data: TrainingData, numbers: Mapping[int, int], recipe: AnchorRecipe
) -> Callable[[int], AnchorBatch]:
    """Return the function from a step to its batch; `numbers` as for `named_pool`.

    Raises ValueError for data without an object, and for a batch with fewer crops than there are
    processes.
    """
    pool = named_pool(data, numbers)
    if recipe.batch < data.size:
        raise ValueError(f"batch is {recipe.batch}: raise --batch to one crop a process or more")
    cache: ByteCache[Image] = ByteCache(data.cache_bytes, lambda image: image.nbytes)

    def crop(rng: np.random.Generator) -> _Crop:
        picture = pool.draw(recipe.complete_share, rng)
        image = cache.get(picture.image, lambda: read_picture(picture.image))
        view = _random_view(picture, image, recipe, rng)
        painted = paint(recoloured(image, rng), view, (recipe.crop, recipe.crop))
        return _Crop(painted, view, truth_of(picture, view))

    def batch(step: int) -> AnchorBatch:
        mine = range(data.rank, recipe.batch, data.size)
        crops = [crop(np.random.default_rng((data.seed, step, k))) for k in mine]
        truths = [one.truth for one in crops]
        return AnchorBatch(
            torch.from_numpy(np.stack([one.image for one in crops])),
            [torch.tensor([one.view.height, one.view.width]) for one in crops],
            [one.boxes for one in truths],
            [one.category for one in truths],
            [one.usable for one in truths],
            [one.crowds for one in truths],
            [one.labelled for one in truths],
            recipe.batch,
            recipe.class_loss,
        )

    return batch


@dataclass(frozen=True)
class _Crop:
    image: Image
    view: View
    truth: Truth


def truth_of(picture: NamedPicture, view: View) -> Truth:
    """Return what a view shows of a picture; what is smaller than a speck is like a crowd."""
    whole = view.boxes(np.array(picture.boxes, np.float64).reshape(-1, 4))
    seen = seen_boxes(picture.boxes, view)
    sides = seen[:, 2:] - seen[:, :2]
    share = sides.prod(1) / np.maximum((whole[:, 2:] - whole[:, :2]).prod(1), 1e-9)
    touches = (sides > 0).all(1)
    speck = touches & (sides < LEAST_SIDE).any(1)
    kept = touches & ~speck
    crowds = seen_boxes(picture.crowds, view)
    return Truth(
        torch.from_numpy(seen[kept]).float(),
        torch.tensor(picture.category, dtype=torch.int64)[torch.from_numpy(kept)],
        torch.from_numpy(share[kept] >= LEAST_SHARE),
        torch.from_numpy(np.concatenate([crowds, seen[speck]])).float(),
        torch.tensor(picture.labelled),
    )


def _random_view(
    picture: NamedPicture, image: Image, recipe: AnchorRecipe, rng: np.random.Generator
) -> View:
    longer = LONGER_SIDE * 2 ** -rng.uniform(0, recipe.shrink)
    focus = None
    if picture.boxes and rng.random() < FOCUSED:
        x, y, width, height = picture.boxes[int(rng.integers(len(picture.boxes)))]
        focus = (x + width / 2, y + height / 2)
    size = (image.shape[0], image.shape[1])
    return random_view(size, (recipe.crop, recipe.crop), longer, focus, rng)
