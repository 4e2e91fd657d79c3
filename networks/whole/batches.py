"""Looks at pictures drawn from labelled sets, and batches of them: functions of seed and step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.pictures import read_picture
from deepmask.networks.family import TrainingData
from deepmask.networks.patches.crops import ByteCache
from deepmask.networks.whole.batch import Batch, make_batch
from deepmask.networks.whole.config import FpnLiteConfig
from deepmask.networks.whole.look import Framing, Labelled, Look, Picture, look, pasted
from deepmask.networks.whole.recipe import FpnLiteRecipe, WholeRecipe
from deepmask.networks.whole.view import Image

CROP = 512
#: Height and width of the canvas of a whole picture that is wider than high.
LYING = (768, 1024)


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


@dataclass(frozen=True)
class Looks:
    """A batch's looks at pictures, or one process's share of them.

    Each has a generator, for what else is random about it.
    """

    looks: Sequence[Look]
    generators: Sequence[np.random.Generator]


def whole_batches(
    data: TrainingData, config: FpnLiteConfig, recipe: FpnLiteRecipe
) -> Callable[[int], Batch]:
    """Return the function from a step to its batch; raises ValueError as `whole_looks` does."""
    draw = whole_looks(data, recipe)

    def batch(step: int) -> Batch:
        drawn = draw(step)
        each, most = recipe.windows_each, recipe.windows_most
        return make_batch(drawn.looks, drawn.generators, each, most)

    return batch


def whole_looks(data: TrainingData, recipe: WholeRecipe) -> Callable[[int], Looks]:
    """Return the function from a step to its looks.

    Raises ValueError for sets without an object, and for batches of fewer crops or whole pictures
    than there are processes.
    """
    cache: ByteCache[Image] = ByteCache(data.cache_bytes, lambda image: image.nbytes)
    pool = Pool(
        _pictures(data.labelled, cache, complete=True),
        [p for found in data.partly for p in _pictures(found, cache, complete=False)],
    )
    if not any(picture.objects for picture in [*pool.complete, *pool.partly]):
        raise ValueError("no object to learn from: every annotation is a crowd or left out")
    if (_whole_pictures(recipe) if recipe.whole_share else recipe.batch) < data.size:
        raise ValueError(
            f"batch is {recipe.batch} crops, or {_whole_pictures(recipe)} whole pictures: raise "
            f"--batch so that each of {data.size} processes has one"
        )
    wider = recipe.scale_jitter
    crops = Framing((CROP, CROP), (-1.4 - wider, 0.5 + wider), 0.75, recipe.large_objects)
    lying, standing = (
        Framing(canvas, (-0.5 - wider, 0.2 + wider)) for canvas in (LYING, LYING[::-1])
    )
    pools = {
        lying: pool.only(lambda picture: picture.width >= picture.height),
        standing: pool.only(lambda picture: picture.width < picture.height),
    }

    def looks(step: int) -> Looks:
        rng = np.random.default_rng((data.seed, step))
        framing, drawn_from, count = crops, pool, recipe.batch
        if rng.random() < recipe.whole_share:
            framing = lying if bool(rng.random() * len(pool) < len(pools[lying])) else standing
            drawn_from, count = pools[framing], _whole_pictures(recipe)
        generators = [
            np.random.default_rng((data.seed, step, k)) for k in range(data.rank, count, data.size)
        ]
        seen = [_look(drawn_from, framing, recipe, each) for each in generators]
        return Looks(seen, generators)

    return looks


def _look(pool: Pool, framing: Framing, recipe: WholeRecipe, rng: np.random.Generator) -> Look:
    seen = look(pool.draw(recipe.complete_share, rng), framing, rng)
    if recipe.copy_paste and rng.random() < recipe.copy_paste:
        seen = pasted(seen, look(pool.draw(recipe.complete_share, rng), framing, rng), rng)
    return seen


def _whole_pictures(recipe: WholeRecipe) -> int:
    return max(1, round(recipe.batch * CROP**2 / (LYING[0] * LYING[1])))


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
