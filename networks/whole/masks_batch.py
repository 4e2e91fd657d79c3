"""A batch for `fpn-masks`: looks at pictures, the locations that learn, masks of objects'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepmask.networks.family import TensorBatch, TrainingData
from deepmask.networks.whole.batches import Looks, whole_looks
from deepmask.networks.whole.look import objects_of
from deepmask.networks.whole.masks_assign import cut_mask, sample
from deepmask.networks.whole.masks_config import FpnMasksConfig
from deepmask.networks.whole.recipe import FpnMasksRecipe


@dataclass(frozen=True)
class MasksBatch(TensorBatch):
    """A batch, or a process's share of it: k locations of B pictures of H × W, p of them objects'.

    images   (B, H, W, 3) uint8 RGB.
    windows  (k, 5) int64: picture, head, level, i, j.
    label    (k,) float32: 1 for an object's, 0 for background.
    scored   (k,) bool: whether the score learns; not where only some objects are labelled.
    taught   (p,) int64: which of them learn a mask.
    share    (p, M, M) uint8: how much of each sample of the mask is the object's, times 255.
    seen     (p, M, M) bool: whether the sample lies on the canvas.
    """

    images: Tensor
    windows: Tensor
    label: Tensor
    scored: Tensor
    taught: Tensor
    share: Tensor
    seen: Tensor


def masks_batches(
    data: TrainingData, config: FpnMasksConfig, recipe: FpnMasksRecipe
) -> Callable[[int], MasksBatch]:
    """Return the function from a step to its batch; raises ValueError as `whole_looks` does."""
    draw = whole_looks(data, recipe)
    return lambda step: make_masks_batch(draw(step), config, recipe.locations)


def make_masks_batch(drawn: Looks, config: FpnMasksConfig, locations: int) -> MasksBatch:
    """Draw locations of looks at pictures, and make the masks of those of objects."""
    windows, scored, masks = [], [], []
    for picture, (seen, rng) in enumerate(zip(drawn.looks, drawn.generators, strict=True)):
        bitmaps, objects = objects_of(seen)
        canvas = seen.image.shape[:2]
        rows = sample(objects, config.heads, (canvas[0], canvas[1]), locations, rng)
        windows.append(np.column_stack([np.full(len(rows), picture), rows]))
        scored += [seen.complete] * len(rows)
        masks += [
            cut_mask(bitmaps[row[4]], row, config.heads[row[0]], config.mask_size)
            for row in rows
            if row[4] >= 0
        ]
    table = np.concatenate(windows)
    size = config.mask_size
    label = table[:, 5] >= 0
    return MasksBatch(
        images=torch.from_numpy(np.stack([seen.image for seen in drawn.looks])),
        windows=torch.from_numpy(table[:, :5]),
        label=torch.from_numpy(label.astype(np.float32)),
        scored=torch.tensor(scored, dtype=torch.bool),
        taught=torch.from_numpy(np.flatnonzero(label)),
        share=torch.from_numpy(np.array([m for m, _ in masks], np.uint8).reshape(-1, size, size)),
        seen=torch.from_numpy(np.array([s for _, s in masks], bool).reshape(-1, size, size)),
    )
