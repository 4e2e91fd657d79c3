"""RoI features: a map averaged over the cells of boxes, equal to ONNX's RoiAlign.

In a graph it is a GridSample, not a RoiAlign: TensorRT for RTX (1.7) has no such layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align(features: Tensor, boxes: Tensor, stride: int, size: int, samples: int) -> Tensor:
    """Average a map over size × size cells of each box.

    features  (1, C, h, w), a cell for every `stride` pixels.
    boxes     (n, 4): x0, y0, x1, y1 in pixels, which may lie beside the map.
    samples   bilinear samples a cell along each side.
    Returns (n, C, size, size). The same as RoiAlign of ONNX's opset 16 with half pixels: a sample
    more than a cell beyond the border's centre counts as 0, one nearer is that of the border.
    """
    height, width = features.shape[2:]
    x = _coordinates(boxes[:, 0], boxes[:, 2], size * samples, stride)
    y = _coordinates(boxes[:, 1], boxes[:, 3], size * samples, stride)
    # grid_sample counts from −1 to 1 between the outer edges of the border's cells.
    across, down = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
    steps = size * samples
    grid = torch.stack(
        [across[:, None, :].expand(-1, steps, -1), down[:, :, None].expand(-1, -1, steps)], 3
    )
    found = F.grid_sample(
        features,
        grid.reshape(1, -1, steps, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    inside = _inside(y, height)[:, :, None] & _inside(x, width)[:, None, :]
    found = found[0].reshape(features.shape[1], boxes.shape[0], steps, steps).transpose(0, 1)
    return F.avg_pool2d(found * inside[:, None].to(found.dtype), samples)


def _coordinates(start: Tensor, end: Tensor, steps: int, stride: int) -> Tensor:
    """Return where samples lie, (n, steps), in cells; the first cell's centre is at 0."""
    places = (torch.arange(steps, device=start.device) + 0.5) / steps
    return (start[:, None] + (end - start)[:, None] * places) / stride - 0.5


def _inside(coordinate: Tensor, length: int) -> Tensor:
    return (coordinate >= -1) & (coordinate <= length)
