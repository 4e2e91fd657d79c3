"""The training loss of DeepMask, eq. 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import Counts
from deepmask.train.device import Hardware


class Losses(nn.Module):
    """Mask loss and score loss of a network as one module, which data parallel training wraps."""

    def __init__(self, model: DeepMaskNetwork, hardware: Hardware) -> None:
        """`hardware` says in which precision the network runs, and whether compiled.

        The trunk alone is compiled: it is nearly all the arithmetic, and its shapes stay the same
        where the number of masks and of labels differs from batch to batch.
        """
        super().__init__()
        self.model = model
        self._hardware = hardware
        self._stages = torch.compile(model.stages) if hardware.compiled else model.stages

    def forward(
        self, patches: Tensor, masks: Tensor, labels: Tensor, counts: Counts
    ) -> tuple[Tensor, Tensor]:
        """Losses of a share of a batch, scalars; the branch a batch does not train is not run (§3).

        patches: (N, 3, P, P) float 0…255; masks, labels and counts: see `Batch`.
        """
        zero = patches.new_zeros(())
        with self._hardware.autocast():
            stages = self._stages(patches)
            mask_logits = (
                self.model.masks([one[: len(masks)] for one in stages]) if len(masks) else None
            )
            windows = self.model.inner(stages[-1])
            score_logits = self.model.score(windows) if counts.objects + counts.others else None
        return (
            zero if mask_logits is None else mask_loss(mask_logits.float(), masks, counts.masks),
            zero
            if score_logits is None
            else score_loss(score_logits.float(), labels, (counts.objects, counts.others)),
        )


def mask_loss(logits: Tensor, masks: Tensor, count: int | None = None) -> Tensor:
    """Mean over pixels and positives of log(1 + exp(−m·f)): the first term of eq. 1, scalar.

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
    """Mean of log(1 + exp(−y·f)), positives and negatives weighing alike: the second term of eq. 1.

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
