"""Training batches: each a pure function of seed and step, made ahead of time by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from deepmask.coco.training_labels import Image
from deepmask.networks.config import ModelConfig
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.device_crops import DeviceCropper
from deepmask.networks.patches.recipe import Recipe
from deepmask.networks.patches.sampling import Negative, Positive, Sampler, Window
from deepmask.train.parallel import ALONE, Team


@dataclass(frozen=True)
class Counts:
    """Patches of a whole batch that each mean of the loss is over: with masks, labelled 1 and 0."""

    masks: int
    objects: int
    others: int


@dataclass(frozen=True)
class Batch:
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

    def pinned(self) -> Batch:
        """The same in page-locked memory, from which a GPU copies while the CPU goes on."""

        def pin(values: Tensor) -> Tensor:
            return values if values.is_cuda else values.pin_memory()

        patches, masks = pin(self.patches), pin(self.masks)
        return Batch(patches, masks, pin(self.labels), pin(self.colours), self.counts)


class BatchMaker:
    """Draws, cuts and labels batches; two calls with the same seed and step give the same batch."""

    def __init__(
        self,
        sampler: Sampler,
        cropper: Cropper | DeviceCropper,
        model: ModelConfig,
        recipe: Recipe,
        seed: int,
        team: Team = ALONE,
    ) -> None:
        """`seed` decides, with the step, everything that is random.

        Every process of a team draws the same whole batch and cuts its own share. Raises
        ValueError when there is none for each.
        """
        if recipe.batch < team.size:
            raise ValueError(
                f"batch is {recipe.batch}, it must be at least the number of processes, {team.size}"
            )
        self._sampler = sampler
        self._cropper = cropper
        self._model = model
        self._recipe = recipe
        self._seed = seed
        self._team = team

    def __call__(self, step: int) -> Batch:
        """The batch of `step`: joint, or in turn one for masks and one for scores (§3).

        Without negatives every batch is one for masks.
        """
        recipe = self._recipe
        rng = np.random.default_rng((self._seed, step))
        if not recipe.negatives or (recipe.alternate and step % 2 == 0):
            batch = self.cut(self._sampler.mask_positives(recipe.batch, rng), [], rng)
            counts = Counts(batch.counts.masks, 0, 0)
            return replace(batch, labels=torch.full_like(batch.labels, np.nan), counts=counts)
        if not recipe.alternate:
            positives = self._sampler.mask_positives(recipe.batch - recipe.negatives, rng)
            return self.cut(positives, self._sampler.negatives(recipe.negatives, rng), rng)
        positives = self._sampler.score_positives(recipe.batch - recipe.negatives, rng)
        batch = self.cut(positives, self._sampler.negatives(recipe.negatives, rng), rng)
        return replace(batch, masks=batch.masks[:0], counts=replace(batch.counts, masks=0))

    def cut(
        self, positives: Sequence[Positive], negatives: Sequence[Negative], rng: Generator
    ) -> Batch:
        """Cut this process's share of these draws; `rng` only decides the colours."""
        counts = Counts(len(positives), sum(p.scored for p in positives), len(negatives))
        mine = range(self._team.rank, len(positives) + len(negatives), self._team.size)
        colours = _colours(len(positives) + len(negatives), self._recipe, rng)[mine]
        positives, negatives = (
            [positives[k] for k in mine if k < counts.masks],
            [negatives[k - counts.masks] for k in mine if k >= counts.masks],
        )
        places: list[tuple[Image, Window]] = [(p.instance.image, p.window) for p in positives]
        places += [(n.image, n.window) for n in negatives]
        labels = [1.0 if p.scored else np.nan for p in positives] + [0.0] * len(negatives)
        return Batch(
            self._cropper.patches(places, self._model.input_size),
            self._cropper.masks(positives, self._model.patch, self._recipe.loss_size),
            torch.tensor(labels, dtype=torch.float32),
            torch.from_numpy(colours),
            counts,
        )


def prefetch(
    make: Callable[[int], Batch], steps: range, threads: int, ahead: int
) -> Iterator[Batch]:
    """`make(step)` for each step in order, up to `ahead` batches made in advance by `threads`."""
    with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def augment(patches: Tensor, colours: Tensor) -> Tensor:
    """Apply a batch's colour changes: (N, 3, P, P) float 0…255 → the same, still 0…255."""
    shift, contrast, saturation = (column.view(-1, 1, 1, 1) for column in colours.unbind(1))
    gray = 0.299 * patches[:, :1] + 0.587 * patches[:, 1:2] + 0.114 * patches[:, 2:]
    toned = gray + saturation * (patches - gray)
    return (127.5 + contrast * (toned - 127.5) + shift).clamp(0, 255)


def _colours(
    count: int, recipe: Recipe, rng: Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    shift = 127.5 * rng.uniform(-recipe.brightness, recipe.brightness, count)
    contrast = 1 + rng.uniform(-recipe.contrast, recipe.contrast, count)
    saturation = 1 + rng.uniform(-recipe.saturation, recipe.saturation, count)
    return np.stack([shift, contrast, saturation], axis=1).astype(np.float32)
