"""What patches are measured by: the loss in training (eq. 1), masks and scores in validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deepmask.coco.annotations import LabelledSet
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import PatchBatch, PatchBatches, augment
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.recipe import DeepMaskRecipe, PatchRecipe, SharpMaskRecipe
from deepmask.networks.patches.sampling import Sampler

#: Patches of a validation batch, and the seed of what is random in them.
BATCH = 32
SEED = 0
#: Mean IoU at probability 0.5, and the mean of the score's accuracy on objects and on others, 0…1.
MEASURES = ("mask_iou", "score_accuracy")


def deepmask_weights(recipe: DeepMaskRecipe) -> Mapping[str, float]:
    """Return the weights of both terms of eq. 1."""
    return {"mask": recipe.loss_scale, "score": recipe.loss_scale * recipe.score_weight}


def sharpmask_weights(recipe: SharpMaskRecipe) -> Mapping[str, float]:
    """Return the weight of the masks' loss, the only one of a refinement."""
    return {"mask": recipe.loss_scale}


def patch_losses(network: DeepMaskNetwork, batch: PatchBatch) -> dict[str, Tensor]:
    """Return the losses of a share of a batch; a branch that the batch does not train is not run.

    "mask" where the whole batch has masks, "score" where it has labels (§3).
    """
    patches = augment(batch.patches.float(), batch.colours)
    masks, counts = batch.masks, batch.counts
    stages = network.stages(patches)
    losses = {}
    if counts.masks:
        losses["mask"] = patches.new_zeros(())  # where other processes have all the masks
        if len(masks):
            logits = network.masks([one[: len(masks)] for one in stages])
            losses["mask"] = mask_loss(logits.float(), masks, counts.masks)
    if counts.objects + counts.others:
        logits = network.score(network.inner(stages[-1]))
        losses["score"] = score_loss(logits.float(), batch.labels, (counts.objects, counts.others))
    return losses


def mask_loss(logits: Tensor, masks: Tensor, count: int | None = None) -> Tensor:
    """Return the mean over pixels and positives of log(1 + exp(−m·f)), scalar (eq. 1, first term).

    logits: (M, S, S), upsampled bilinearly to masks: (M, L, L), 0 or 1 for m = −1 or +1.
    count: positives of the whole batch where these are one process's share of it. The shares'
    losses then add up to the whole batch's.
    """
    logits = upsampled(logits, masks)
    mean = functional.binary_cross_entropy_with_logits(logits, masks.to(logits.dtype))
    return mean if count is None else mean * (len(masks) / count)


def upsampled(logits: Tensor, masks: Tensor) -> Tensor:
    """Return logits (M, S, S), upsampled bilinearly to the size of masks (M, L, L)."""
    size = masks.shape[-2:]
    if logits.shape[-2:] == size:
        return logits
    return functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def score_loss(logits: Tensor, labels: Tensor, counts: tuple[int, int] | None = None) -> Tensor:
    """Return the mean of log(1 + exp(−y·f)), both classes weighing alike (eq. 1, second term).

    logits, labels: (N,), labels 1 or 0, NaN to leave a patch out. With as many positives as
    negatives, as in the paper, this is the plain mean. A class that is absent counts nothing.
    counts: labels 1 and 0 in the whole batch where these are one process's share of it. The
    shares' losses then add up to the whole batch's.
    """
    # Masks rather than selections, whose size a GPU would have to tell the CPU.
    classes = (labels == 1, labels == 0)
    losses = (functional.softplus(-logits) * classes[0], functional.softplus(logits) * classes[1])
    totals = counts or (int(classes[0].sum()), int(classes[1].sum()))
    present = [loss.sum() / total for loss, total in zip(losses, totals, strict=True) if total]
    return torch.stack(present).mean() if present else logits.sum() * 0.0


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
    predicted, truth = upsampled(logits, masks) > 0, masks > 0
    both = (predicted & truth).flatten(1).sum(1)
    either = (predicted | truth).flatten(1).sum(1)
    return both / either.clamp(min=1)
