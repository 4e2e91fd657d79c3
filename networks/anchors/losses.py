"""Losses of anchors, by name: of their categories, and of their boxes.

Focal loss (thesis eq. 5.5) sees all anchors. What chapter 5 compares it with: plain cross entropy
over all of them, online hard example mining (table 5.1d), and the 1 to 3 sampling of RPN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from deepmask.networks.anchors.nms import kept_by_nms
from deepmask.networks.boxes.sampling import some
from deepmask.networks.focal import focal_sum

#: Anchors of a picture that sampling draws, and the largest share of them that are objects'.
SAMPLED, OBJECT_SHARE = 256, 0.25
#: Anchors of a picture that hard example mining takes, and the IoU above which a harder one stands
#: for them too: the best row of table 5.1d. They are taken from the `CANDIDATES` hardest.
HARDEST, HARD_IOU, CANDIDATES = 128, 0.5, 1000

#: (logits (n, C) float32, labels (n, C) of 1, 0 and −1, anchors (n, 4)) of a picture → the sum of
#: the losses, and the count that the sum over the whole batch is divided by, int64.
ClassLoss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def focal(logits: Tensor, labels: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Sum focal losses over all anchors, for each anchor that is an object's (§5.3)."""
    return focal_sum(logits, labels), _objects(labels).sum()


def cross_entropy(logits: Tensor, labels: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Sum cross entropies over all anchors, for each anchor that is an object's."""
    return entropies(logits, labels).sum(), _objects(labels).sum()


def ohem(logits: Tensor, labels: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Sum cross entropies over the hardest anchors, of which none overlaps a harder one."""
    each = entropies(logits, labels).sum(1)
    with torch.no_grad():
        learns = (labels >= 0).any(1).nonzero()[:, 0]
        hard = learns[each[learns].topk(min(CANDIDATES, len(learns))).indices]
        chosen = hard[kept_by_nms(anchors[hard], HARD_IOU)][:HARDEST]
    return each[chosen].sum(), labels.new_tensor(len(chosen), dtype=torch.int64)


def sampled(logits: Tensor, labels: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Sum cross entropies over anchors drawn at random, 1 of an object to 3 of background."""
    is_object = _objects(labels)
    background = (labels >= 0).any(1) & ~is_object
    objects = some(is_object.nonzero()[:, 0], int(SAMPLED * OBJECT_SHARE))
    chosen = torch.cat([objects, some(background.nonzero()[:, 0], SAMPLED - len(objects))])
    total = entropies(logits[chosen], labels[chosen]).sum()
    return total, labels.new_tensor(len(chosen), dtype=torch.int64)


CLASS_LOSSES: Mapping[str, ClassLoss] = {
    "focal": focal,
    "cross-entropy": cross_entropy,
    "ohem": ohem,
    "sampled": sampled,
}


def entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross entropy of each logit, 0 where the label is −1."""
    target = (labels == 1).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return each * (labels >= 0)


def box_sum(offsets: Tensor, wanted: Tensor) -> Tensor:
    """Sum smooth L1 losses of offsets, both (n, 4) as `offsets.encode` has them.

    The loss of a difference d is d² / 2 up to |d| = 1, and |d| − 1 / 2 from there.
    """
    return F.smooth_l1_loss(offsets, wanted, reduction="sum")


def _objects(labels: Tensor) -> Tensor:
    return (labels == 1).any(1)
