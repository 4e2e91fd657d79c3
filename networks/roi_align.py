"""RoI features: a map averaged over the cells of boxes, equal to ONNX's RoiAlign."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bilinear samples a cell along each side.
SAMPLES = 2


def roi_align(features: Tensor, boxes: Tensor, size: int, stride: int) -> Tensor:
    """Average a map over size × size cells of each box, from `SAMPLES`² bilinear samples a cell.

    features  (1, C, h, w), a cell for every `stride` pixels.
    boxes     (n, 4): x0, y0, x1, y1 in pixels, which may lie beside the map.
    Returns (n, C, size, size). The same as RoiAlign of ONNX's opset 16 with half pixels: a sample
    more than a cell beyond the border counts as 0, one nearer is that of the border.
    """
    height, width = features.shape[2:]
    x = _coordinates(boxes[:, 0], boxes[:, 2], size, stride)
    y = _coordinates(boxes[:, 1], boxes[:, 3], size, stride)
    # grid_sample counts from −1 to 1 between the outer edges of the border's cells.
    grid = torch.stack(
        [
            ((2 * x + 1) / width - 1)[:, None, :].expand(-1, y.shape[1], -1),
            ((2 * y + 1) / height - 1)[:, :, None].expand(-1, -1, x.shape[1]),
        ],
        3,
    )
    inside = _inside(y, height)[:, :, None] & _inside(x, width)[:, None, :]
    found = F.grid_sample(
        features,
        grid.flatten(0, 1)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    found = found[0].unflatten(1, inside.shape[:2]).transpose(0, 1) * inside[:, None]
    return F.avg_pool2d(found, SAMPLES)


def _coordinates(start: Tensor, end: Tensor, size: int, stride: int) -> Tensor:
    """Return where samples lie, (n, size · SAMPLES), in cells; the first cell's centre is at 0."""
    steps = (torch.arange(size * SAMPLES, device=start.device) + 0.5) / (size * SAMPLES)
    return (start[:, None] + (end - start)[:, None] * steps) / stride - 0.5


def _inside(coordinate: Tensor, length: int) -> Tensor:
    return (coordinate >= -1) & (coordinate <= length)
