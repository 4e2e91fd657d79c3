"""The training loss of DeepMask, eq. 1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean over pixels and positives of log(1 + exp(−m·f)): the first term of eq. 1, scalar.

    logits: (M, S, S), upsampled bilinearly to masks: (M, L, L), 0 or 1 for m = −1 or +1.
    """
    size = masks.shape[-2:]
    if logits.shape[-2:] != size:
        logits = functional.interpolate(
            logits[:, None], size=size, mode="bilinear", align_corners=False
        )[:, 0]
    return functional.binary_cross_entropy_with_logits(logits, masks.to(logits.dtype))


def score_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of log(1 + exp(−y·f)), positives and negatives weighing alike: the second term of eq. 1.

    logits, labels: (N,), labels 1 or 0, NaN to leave a patch out. With as many positives as
    negatives, as in the paper, this is the plain mean. A class that is absent counts nothing.
    """
    losses = [
        functional.softplus(-logits[labels == 1]),
        functional.softplus(logits[labels == 0]),
    ]
    present = [loss.mean() for loss in losses if loss.numel()]
    return torch.stack(present).mean() if present else logits.sum() * 0.0
