"""Focal loss (T.-Y. Lin's thesis chapter 5, arXiv:1708.02002)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: γ and α of the thesis' RetinaNet (§5.5): focus on what is wrong, weight of objects.
GAMMA, ALPHA = 2.0, 0.25


def focal_sum(logits: Tensor, label: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """Sum −α_t (1 − p_t)^γ log p_t (eq. 5.5) over all anchors.

    The caller divides by the number of anchors that mean an object (§5.3). Not by that of all:
    nearly all are easy background, of which focal loss leaves next to nothing.

    logits, label  of one shape; `label` is 1 for an object, 0 for background, −1 for what counts
                   as neither.
    """
    is_object = label == 1
    chance = torch.sigmoid(logits)
    right = torch.where(is_object, chance, 1 - chance)
    weight = torch.where(is_object, alpha, 1 - alpha) * (1 - right) ** gamma
    target = is_object.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (entropy * weight * (label >= 0)).sum()
