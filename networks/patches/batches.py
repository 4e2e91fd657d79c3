"""Make training batches of patches, each a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from deepmask.coco.annotations import Image
from deepmask.networks.family import TensorBatch, TrainingData
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.recipe import DeepMaskRecipe, PatchRecipe, SharpMaskRecipe
from deepmask.networks.patches.sampling import Negative, Positive, Sampler, Window


@dataclass(frozen=True)
class Counts:
    """Patches of a whole batch that each mean of the loss is over: with masks, labelled 1 and 0."""

    masks: int
    objects: int
    others: int


@dataclass(frozen=True)
class PatchBatch(TensorBatch):
    """One batch, or one process's share of it. The first M of its N patches have masks.

    patches  uint8 (N, 3, P, P) RGB, P patch and context.
    masks    uint8 (M, L, L), 0 or 1, over the patch without context; L is the loss size.
    labels   float32 (N,): 1 object, 0 none; NaN where the patch may not train the score.
    colours  float32 (N, 3): brightness shift in 0…255 units, contrast and saturation factors.
    counts   of the whole batch, over all processes.
    """

    patches: Tensor
    masks: Tensor
    labels: Tensor
    colours: Tensor
    counts: Counts


@dataclass(frozen=True)
class PatchBatches:
    """Draw, cut and label batches that train masks; the same step gives the same batch.

    `seed` decides, with the step, everything that is random. Every one of `size` processes draws
    the same whole batch and cuts its own share, number `rank`. Raises ValueError when there is none
    for each.
    """

    sampler: Sampler
    cropper: Cropper
    config: DeepMaskConfig
    recipe: PatchRecipe
    seed: int
    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        batch = self.recipe.batch
        if batch < self.size:
            raise ValueError(
                f"batch is {batch}, it must be at least the number of processes, {self.size}"
            )

    def __call__(self, step: int) -> PatchBatch:
        """Return the batch of `step`: positives whose labels are NaN, as they train no score."""
        rng = np.random.default_rng((self.seed, step))
        batch = self.cut(self.sampler.mask_positives(self.recipe.batch, rng), [], rng)
        counts = Counts(batch.counts.masks, 0, 0)
        return replace(batch, labels=torch.full_like(batch.labels, np.nan), counts=counts)

    def cut(
        self, positives: Sequence[Positive], negatives: Sequence[Negative], rng: Generator
    ) -> PatchBatch:
        """Cut this process's share of these draws; `rng` decides the colours only."""
        counts = Counts(len(positives), sum(p.scored for p in positives), len(negatives))
        mine = range(self.rank, len(positives) + len(negatives), self.size)
        colours = _colours(len(positives) + len(negatives), self.recipe, rng)[mine]
        positives, negatives = (
            [positives[k] for k in mine if k < counts.masks],
            [negatives[k - counts.masks] for k in mine if k >= counts.masks],
        )
        places: list[tuple[Image, Window]] = [(p.instance.image, p.window) for p in positives]
        places += [(n.image, n.window) for n in negatives]
        labels = [1.0 if p.scored else np.nan for p in positives] + [0.0] * len(negatives)
        return PatchBatch(
            self.cropper.patches(places, self.config.input_size),
            self.cropper.masks(positives, self.config.patch, self.recipe.loss_size),
            torch.tensor(labels, dtype=torch.float32),
            torch.from_numpy(colours),
            counts,
        )


class ScoredPatchBatches(PatchBatches):
    """Make batches that train masks and scores: both in each batch, or in turn (§3)."""

    recipe: DeepMaskRecipe

    def __call__(self, step: int) -> PatchBatch:
        """Return the batch of `step`."""
        recipe, sampler = self.recipe, self.sampler
        if recipe.alternate and step % 2 == 0:
            return super().__call__(step)
        rng = np.random.default_rng((self.seed, step))
        draw = sampler.score_positives if recipe.alternate else sampler.mask_positives
        positives = draw(recipe.batch - recipe.negatives, rng)
        batch = self.cut(positives, sampler.negatives(recipe.negatives, rng), rng)
        if recipe.alternate:
            return replace(batch, masks=batch.masks[:0], counts=replace(batch.counts, masks=0))
        return batch


def masks_and_scores(
    data: TrainingData, config: DeepMaskConfig, recipe: DeepMaskRecipe
) -> Callable[[int], PatchBatch]:
    """Return the function from a step to its batch for a DeepMask.

    Raises ValueError for sets that have nothing to draw from.
    """
    sampler = Sampler(data.labelled, data.partly, config, recipe, recipe.score_partly)
    cropper = Cropper(data.cache_bytes)
    return ScoredPatchBatches(sampler, cropper, config, recipe, data.seed, data.rank, data.size)


def masks_only(
    data: TrainingData, config: DeepMaskConfig, recipe: SharpMaskRecipe
) -> Callable[[int], PatchBatch]:
    """Return the function from a step to its batch for a refinement; raises the same."""
    sampler = Sampler(data.labelled, data.partly, config, recipe)
    cropper = Cropper(data.cache_bytes)
    return PatchBatches(sampler, cropper, config, recipe, data.seed, data.rank, data.size)


def augment(patches: Tensor, colours: Tensor) -> Tensor:
    """Apply a batch's colour changes: (N, 3, P, P) float 0…255 → the same, still 0…255."""
    shift, contrast, saturation = (column.view(-1, 1, 1, 1) for column in colours.unbind(1))
    gray = 0.299 * patches[:, :1] + 0.587 * patches[:, 1:2] + 0.114 * patches[:, 2:]
    toned = gray + saturation * (patches - gray)
    return (127.5 + contrast * (toned - 127.5) + shift).clamp(0, 255)


def _colours(
    count: int, recipe: PatchRecipe, rng: Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    shift = 127.5 * rng.uniform(-recipe.brightness, recipe.brightness, count)
    contrast = 1 + rng.uniform(-recipe.contrast, recipe.contrast, count)
    saturation = 1 + rng.uniform(-recipe.saturation, recipe.saturation, count)
    return np.stack([shift, contrast, saturation], axis=1).astype(np.float32)
