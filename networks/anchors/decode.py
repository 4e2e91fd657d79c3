"""From logits and offsets of anchors to boxes with names, as at test time (chapter 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deepmask.networks.anchors.boxes import flat, places_of
from deepmask.networks.anchors.levels import AnchorLevel
from deepmask.networks.anchors.nms import kept_by_nms
from deepmask.networks.anchors.tower import Anchored
from deepmask.networks.boxes.offsets import decode


class Found(NamedTuple):
    """n boxes, best first: (n, 4) x0, y0, x1, y1 in pixels, (n,) chances, (n,) category from 0."""

    boxes: Tensor
    chances: Tensor
    category: Tensor


@torch.no_grad()
def best_boxes(
    found: Anchored,
    levels: Sequence[AnchorLevel],
    size: tuple[int, int],
    *,
    of_level: int,
    count: int,
    iou: float,
) -> Found:
    """Return the `count` best boxes of one picture that overlap no better one of their category.

    size      height and width of the picture on the canvas, which boxes are cut to.
    of_level  best pairs of anchor and category of each level that are looked at.
    iou       overlap above which a better box of the same category stands for another.
    """
    categories = found.logits[0].shape[1] // len(levels[0].sizes)
    parts = []
    for level, logits, offsets in zip(levels, *found, strict=True):
        places = places_of([level], [logits])
        here = places.inside(*size)
        chances = torch.sigmoid(flat([logits], categories)[0, here].float())
        best = chances.flatten().topk(min(of_level, chances.numel()))
        row, category = best.indices // categories, best.indices % categories
        moved = decode(places.boxes[here][row], flat([offsets], 4)[0, here][row].float())
        parts.append(Found(moved, best.values, category))
    boxes, chances, category = (torch.cat(part) for part in zip(*parts, strict=True))
    boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([size[1], size[0]] * 2))
    order = chances.argsort(descending=True, stable=True)
    order = order[((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)[order]]
    kept = torch.zeros(len(chances), dtype=torch.bool, device=chances.device)
    for one in range(categories):
        mine = order[category[order] == one]
        kept[mine[kept_by_nms(boxes[mine], iou)]] = True
    order = order[kept[order]][:count]
    return Found(boxes[order], chances[order], category[order])
