"""Which boxes of a picture learn what: Fast R-CNN's assignment and sampling (§2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepmask.networks.boxes.losses import BACKGROUND
from deepmask.networks.boxes.offsets import box_ious, shared_areas

#: IoU with an object from which a box is called by its name; others are background.
OBJECT_IOU = 0.5
#: Largest share of the sampled boxes that are objects': 1 to 3 of background.
OBJECT_SHARE = 0.25
#: A box that lies in a crowd by this share of its area is no background.
IN_CROWD = 0.5


@dataclass(frozen=True)
class Sampled:
    """Boxes of a picture that learn.

    boxes     (n, 4) x0, y0, x1, y1 in pixels of the canvas.
    category  (n,) int64: `BACKGROUND`, or 1 to C.
    objects   (n, 4): the object each means; a box of background has itself.
    """

    boxes: Tensor
    category: Tensor
    objects: Tensor


def sample_boxes(
    proposed: Tensor,
    objects: Tensor,
    category: Tensor,
    crowds: Tensor,
    *,
    complete: bool,
    most: int,
) -> Sampled:
    """Choose at most `most` boxes of a picture at random, `OBJECT_SHARE` of them an object's.

    proposed  (p, 4), with `objects` (m, 4) added: they are boxes of themselves.
    category  (m,) of the objects.
    crowds    (c, 4) in which nothing is background.
    complete  whether every object is labelled; if not, there is no background at all.
    """
    boxes = torch.cat([objects, proposed])
    best, owner = (
        box_ious(boxes, objects).max(1)
        if len(objects)
        else (boxes.new_zeros(len(boxes)), boxes.new_zeros(len(boxes), dtype=torch.int64))
    )
    named = some((best >= OBJECT_IOU).nonzero()[:, 0], int(most * OBJECT_SHARE))
    free = ((best < OBJECT_IOU) & ~in_crowds(boxes, crowds)).nonzero()[:, 0]
    free = some(free, most - len(named) if complete else 0)
    names = category.new_full((len(free),), BACKGROUND)
    return Sampled(
        torch.cat([boxes[named], boxes[free]]),
        torch.cat([category[owner[named]], names]),
        torch.cat([objects[owner[named]], boxes[free]]),
    )


def some(indices: Tensor, most: int) -> Tensor:
    """Draw at most so many of (n,) indices at random, none twice."""
    return indices[torch.randperm(len(indices), device=indices.device)[:most]]


def in_crowds(boxes: Tensor, crowds: Tensor) -> Tensor:
    """Say which of (n, 4) boxes lie in one of (c, 4) crowds by `IN_CROWD` of their area or more."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True)
    return (shared_areas(boxes, crowds) >= IN_CROWD * areas).any(1)
