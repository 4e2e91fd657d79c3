"""Losses of Fast R-CNN (arXiv:1504.08083, §2.3): names by cross entropy, boxes by smooth L1."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

BACKGROUND = 0


def class_sum(logits: Tensor, category: Tensor) -> Tensor:
    """Sum softmax cross entropies over boxes.

    logits    (n, C + 1), the first of background.
    category  (n,) int64: `BACKGROUND`, or 1 to C.
    """
    return F.cross_entropy(logits, category, reduction="sum")


def offset_sum(offsets: Tensor, category: Tensor, wanted: Tensor) -> Tensor:
    """Sum smooth L1 losses of the offsets of each box's own category; background has none.

    offsets  (n, C, 4), those for category k in row k − 1; `wanted` (n, 4), see `offsets.encode`.
    The loss of a difference d is d² / 2 up to |d| = 1, and |d| − 1 / 2 from there.
    """
    named = (category != BACKGROUND).nonzero()[:, 0]
    own = offsets[named, category[named] - 1]
    return F.smooth_l1_loss(own, wanted[named], reduction="sum")
