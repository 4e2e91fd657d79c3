"""Losses of whole pictures: localisation quality, masks, and their predicted IoU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Weight of objects against background in the focal loss of objectness.
OBJECT_WEIGHT = 0.4


def quality_sum(logits: Tensor, quality: Tensor, owned: Tensor) -> Tensor:
    """Sum of cross entropies with a soft target where a window means an object (OLN's idea).

    Learnt from objects alone, so partly labelled pictures teach it too. The caller divides by the
    number of owned windows.
    """
    return F.binary_cross_entropy_with_logits(logits[owned], quality[owned], reduction="sum")


def mask_loss(logits: Tensor, share: Tensor, seen: Tensor) -> Tensor:
    """Cross entropy plus Dice of each window's mask, over the pixels that are seen: (k,).

    All (k, m, m). Dice makes small objects count as much as large ones; squares in its denominator
    keep it smooth for soft targets.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, share, reduction="none") * seen
    mean = entropy.sum((1, 2)) / seen.sum((1, 2)).clamp(min=1)
    chance = torch.sigmoid(logits) * seen
    squares = (chance**2).sum((1, 2)) + (share**2).sum((1, 2))
    dice = 1 - (2 * (chance * share).sum((1, 2)) + 1) / (squares + 1)
    return mean + dice


def iou_sum(logits: Tensor, iou: Tensor, counts: Tensor) -> Tensor:
    """Sum of cross entropies of predicted with measured IoU, of windows that count. All (k,).

    Windows of partly labelled pictures count only where they match a labelled object: what matches
    none may be an object that nobody labelled.
    """
    each = F.binary_cross_entropy_with_logits(logits, iou.clamp(0, 1), reduction="none")
    return (each * counts).sum()
