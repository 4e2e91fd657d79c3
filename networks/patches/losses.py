"""The training loss of DeepMask, eq. 1, and of SharpMask, its first term."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import PatchBatch, augment
from deepmask.networks.patches.recipe import DeepMaskRecipe, SharpMaskRecipe


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
    size = masks.shape[-2:]
    if logits.shape[-2:] != size:
        logits = functional.interpolate(
            logits[:, None], size=size, mode="bilinear", align_corners=False
        )[:, 0]
    mean = functional.binary_cross_entropy_with_logits(logits, masks.to(logits.dtype))
    return mean if count is None else mean * (len(masks) / count)


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
