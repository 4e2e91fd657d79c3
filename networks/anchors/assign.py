"""Which object each anchor belongs to, and what its logits are to become (§4.4.1, chapter 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from deepmask.networks.boxes.offsets import box_ious
from deepmask.networks.boxes.sampling import in_crowds

#: What owns an anchor that belongs to no object.
BACKGROUND, IGNORED = -1, -2


@dataclass(frozen=True)
class Rule:
    """From which IoU an anchor is an object's, and below which it is background.

    best  whether an object's best anchors are its own however little they overlap it.
    """

    background: float
    object: float
    best: bool


#: Region proposals (§4.4.1), and RetinaNet (chapter 5).
RPN = Rule(0.3, 0.7, best=True)
RETINANET = Rule(0.4, 0.5, best=False)


class Truth(NamedTuple):
    """What lies on a picture of which C categories are told apart. Pixels of the canvas.

    boxes     (m, 4) float32: x0, y0, x1, y1 of objects, each with a width and height above 0.
    category  (m,) int64 of each, 1 to C.
    usable    (m,) bool: false for objects cut too short to learn from.
    crowds    (c, 4) float32: where nothing is background.
    labelled  (C,) bool: of which categories every object is labelled.
    """

    boxes: Tensor
    category: Tensor
    usable: Tensor
    crowds: Tensor
    labelled: Tensor

    def of_any_category(self) -> Truth:
        """Return the same for a network that tells objects from background only."""
        return self._replace(
            category=torch.ones_like(self.category), labelled=self.labelled.all()[None]
        )


def owners(anchors: Tensor, boxes: Tensor, rule: Rule) -> Tensor:
    """Return the owner of each of (n, 4) anchors among (m, 4) boxes, (n,) int64.

    The box's index, `BACKGROUND`, or `IGNORED` for what is neither.
    """
    if not len(boxes):
        return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    ious = box_ious(anchors, boxes)
    best, owner = ious.max(1)
    owner = torch.where(best >= rule.object, owner, torch.full_like(owner, IGNORED))
    owner[best < rule.background] = BACKGROUND
    if rule.best:
        own = (ious == ious.max(0).values) & (ious > 0)
        claimed = own.any(1)
        owner[claimed] = (ious * own)[claimed].argmax(1)
    return owner


def targets(anchors: Tensor, truth: Truth, rule: Rule) -> tuple[Tensor, Tensor]:
    """Return what each anchor learns: labels (n, C) int8, and the index of its object (n,) int64.

    A label is 1 for the object's category, 0 for others, −1 for what is not known: background where
    a category is not labelled, or in a crowd. The index is negative for anchors of no object.
    """
    owner = owners(anchors, truth.boxes, rule)
    is_object = owner >= 0
    owner[is_object & ~_usable(truth, owner)] = IGNORED
    owner[(owner == BACKGROUND) & in_crowds(anchors, truth.crowds)] = IGNORED
    known = torch.where(truth.labelled, 0, -1).to(torch.int8)
    labels = known.repeat(len(anchors), 1)
    labels[owner == IGNORED] = -1
    mine = (owner >= 0).nonzero()[:, 0]
    labels[mine] = 0
    labels[mine, truth.category[owner[mine]] - 1] = 1
    return labels, owner


def _usable(truth: Truth, owner: Tensor) -> Tensor:
    if not len(truth.usable):
        return torch.zeros_like(owner, dtype=torch.bool)
    return truth.usable[owner.clamp(min=0)]
