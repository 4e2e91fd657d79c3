"""Validate on fixed patches: masks of centred objects, and scores of objects and of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deepmask.coco.annotations import LabelledSet
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import PatchBatch, PatchBatches
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.recipe import PatchRecipe
from deepmask.networks.patches.sampling import Sampler

BATCH = 32
SEED = 0
#: Mean IoU at probability 0.5, and the mean of the score's accuracy on objects and on others, 0…1.
MEASURES = ("mask_iou", "score_accuracy")


def validation_batches(
    labelled: LabelledSet, config: DeepMaskConfig, recipe: PatchRecipe, count: int
) -> list[PatchBatch]:
    """Return the fixed patches: `count` objects, as many negatives, no colour change."""
    plain = replace(recipe, brightness=0.0, contrast=0.0, saturation=0.0)
    sampler = Sampler(labelled, [], config, plain)
    batches = PatchBatches(sampler, Cropper(10**9), config, plain, SEED)
    rng = np.random.default_rng(SEED)
    sizes = [min(BATCH, count - done) for done in range(0, count, BATCH)]
    return [
        batches.cut(sampler.score_positives(size, rng), sampler.negatives(size, rng), rng)
        for size in sizes
    ]


def measure_patches(network: DeepMaskNetwork, batches: Iterable[PatchBatch]) -> dict[str, float]:
    """Return `MEASURES` of a network in evaluation mode."""
    ious, hits, labels = [], [], []
    for batch in batches:
        masks, scores = network(batch.patches.float())
        ious.append(_iou(masks[: len(batch.masks)].float(), batch.masks))
        hits.append((scores > 0) == (batch.labels > 0.5))
        labels.append(batch.labels)
    hit, label = torch.cat(hits).float(), torch.cat(labels)
    accuracy = (hit[label == 1].mean() + hit[label == 0].mean()) / 2
    return dict(zip(MEASURES, (float(torch.cat(ious).mean()), float(accuracy)), strict=True))


def _iou(logits: Tensor, masks: Tensor) -> Tensor:
    """(M, S, S) logits, (M, L, L) truth → (M,) IoU at the truth's resolution."""
    upsampled = functional.interpolate(
        logits[:, None], size=masks.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
    predicted, truth = upsampled > 0, masks > 0
    both = (predicted & truth).flatten(1).sum(1)
    either = (predicted | truth).flatten(1).sum(1)
    return both / either.clamp(min=1)
