"""Boxes and offsets between them, as in R-CNN (arXiv:1311.2524, appendix C). float32 throughout."""

from __future__ import annotations

import torch
from torch import Tensor

from deepmask.runtime.predict.label_boxes import MOST_GROWTH, WEIGHTS


def encode(boxes: Tensor, targets: Tensor) -> Tensor:
    """Return the offsets (n, 4) that move `boxes` to `targets`, both (n, 4) x0, y0, x1, y1.

    dx, dy, dw, dh: shifts of the centre in sizes of the box, logarithms of the ratios of sizes.
    Boxes and targets have a width and height above 0.
    """
    size, wanted = _size(boxes), _size(targets)
    shift = (_centre(targets) - _centre(boxes)) / size
    return torch.cat([shift, torch.log(wanted / size)], 1) * boxes.new_tensor(WEIGHTS)


def decode(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Return `boxes` (n, 4) moved by `offsets` (n, 4): the inverse of `encode`."""
    offsets = offsets / boxes.new_tensor(WEIGHTS)
    size = _size(boxes)
    centre = _centre(boxes) + offsets[:, :2] * size
    half = size * torch.exp(offsets[:, 2:].clamp(max=MOST_GROWTH)) / 2
    return torch.cat([centre - half, centre + half], 1)


def box_ious(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, 4), (m, 4) → (n, m): area of the intersection over that of the union."""
    shared = shared_areas(boxes, others)
    areas, other_areas = (_size(x).prod(1) for x in (boxes, others))
    return shared / (areas[:, None] + other_areas[None] - shared).clamp(min=1e-9)


def shared_areas(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, 4), (m, 4) → (n, m): area of the intersection in square pixels."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clamp(min=0).prod(2)


def _size(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]


def _centre(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2
