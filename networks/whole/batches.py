"""Batches of `fpn-lite`: pictures drawn from labelled sets, a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.pictures import read_picture
from deepmask.networks.family import TrainingData
from deepmask.networks.patches.crops import ByteCache
from deepmask.networks.whole.batch import Batch, Framing, Labelled, Picture, make_batch
from deepmask.networks.whole.config import FpnLiteConfig
from deepmask.networks.whole.recipe import FpnLiteRecipe
from deepmask.networks.whole.view import Image

CROP = 512
LYING = Framing((768, 1024), (-0.5, 0.2))
STANDING = Framing((1024, 768), (-0.5, 0.2))


@dataclass(frozen=True)
class Pool:
    """Pictures to draw from: those with every object labelled, and the others."""

    complete: Sequence[Picture]
    partly: Sequence[Picture]

    def draw(self, complete_share: float, rng: np.random.Generator) -> Picture:
        """Draw a picture, of the complete ones in that share of the draws."""
        complete = bool(rng.random() < complete_share)
        chosen = self.complete if self.complete and (complete or not self.partly) else self.partly
        return chosen[int(rng.integers(len(chosen)))]

    def only(self, keep: Callable[[Picture], bool]) -> Pool:
        """Keep some of the pictures."""
        return Pool([p for p in self.complete if keep(p)], [p for p in self.partly if keep(p)])

    def __len__(self) -> int:
        return len(self.complete) + len(self.partly)


def whole_batches(
    data: TrainingData, config: FpnLiteConfig, recipe: FpnLiteRecipe
) -> Callable[[int], Batch]:
    """Return the function from a step to its batch.

    Raises ValueError for sets without an object, and for a batch with fewer whole pictures than
    there are processes.
    """
    cache: ByteCache[Image] = ByteCache(data.cache_bytes, lambda image: image.nbytes)
    pool = Pool(
        _pictures(data.labelled, cache, complete=True),
        [p for found in data.partly for p in _pictures(found, cache, complete=False)],
    )
    if not any(picture.objects for picture in [*pool.complete, *pool.partly]):
        raise ValueError("no object to learn from: every annotation is a crowd or left out")
    if _whole_pictures(recipe) < data.size:
        raise ValueError(
            f"batch is {recipe.batch} crops, or {_whole_pictures(recipe)} whole pictures: raise "
            f"--batch so that each of {data.size} processes has one"
        )
    crops = Framing((CROP, CROP), (-1.4, 0.5), focused=0.75, large=recipe.large_objects)
    pools = {
        LYING: pool.only(lambda picture: picture.width >= picture.height),
        STANDING: pool.only(lambda picture: picture.width < picture.height),
    }

    def batch(step: int) -> Batch:
        rng = np.random.default_rng((data.seed, step))
        framing, drawn_from, count = crops, pool, recipe.batch
        if rng.random() < recipe.whole_share:
            lying = bool(rng.random() * len(pool) < len(pools[LYING]))
            framing = LYING if lying else STANDING
            drawn_from, count = pools[framing], _whole_pictures(recipe)
        mine = range(data.rank, count, data.size)
        generators = [np.random.default_rng((data.seed, step, k)) for k in mine]
        pictures = [drawn_from.draw(recipe.complete_share, each) for each in generators]
        return make_batch(
            pictures,
            framing,
            generators,
            recipe.windows_each,
            recipe.windows_most,
            len(pictures) / count,
        )

    return batch


def _whole_pictures(recipe: FpnLiteRecipe) -> int:
    pixels = LYING.canvas[0] * LYING.canvas[1]
    return max(1, round(recipe.batch * CROP**2 / pixels))


def _pictures(found: LabelledSet, cache: ByteCache[Image], complete: bool) -> list[Picture]:
    annotations, unknown = found.by_image(), found.unknown_by_image()
    pictures = []
    for image in found.images:
        objects = [item for item in annotations[image.id] if not item.crowd]
        boxes = [item.box for item in objects if item.segmentation is None]
        pictures.append(
            Picture(
                partial(cache.get, image, partial(read_picture, image)),
                image.height,
                image.width,
                [Labelled(a.box, a.segmentation, a.area) for a in objects if a.segmentation],
                [*unknown[image.id], *boxes],
                complete,
            )
        )
    return pictures
