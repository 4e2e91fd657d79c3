"""Anchors of whole levels as boxes, in the order that maps of logits and offsets are read in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from deepmask.networks.anchors.levels import AnchorLevel


class Places(NamedTuple):
    """All n anchors of a canvas, level by level: (n, 4) boxes, (n, 2) x, y of their locations."""

    boxes: Tensor
    centres: Tensor

    def inside(self, height: float, width: float) -> Tensor:
        """Return the indices of anchors whose location is on a picture of this size, (k,) int64."""
        x, y = self.centres.unbind(1)
        return ((x < width) & (y < height)).nonzero()[:, 0]


def anchor_boxes(level: AnchorLevel, height: int, width: int) -> Tensor:
    """Return the anchors of a level of height × width cells, (A · height · width, 4) float32.

    x0, y0, x1, y1 in pixels of the view; anchor a of location (i, j) in row
    (a · height + i) · width + j.
    """
    y, x = ((torch.arange(count) + 0.5) * level.stride for count in (height, width))
    sizes = torch.tensor(level.sizes)[:, :, None, None]
    half_h, half_w = ((sizes[:, side] / 2).expand(-1, height, width) for side in range(2))
    y, x = y[:, None].expand(height, width), x.expand(height, width)
    return torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], 3).flatten(0, 2)


def flat(maps: Sequence[Tensor], values: int) -> Tensor:
    """(N, A · values, h, w) for each level → (N, anchors, values), as `anchor_boxes` orders them.

    Levels follow each other, finest first.
    """
    rows = [m.reshape(len(m), -1, values, *m.shape[2:]).movedim(2, 4).flatten(1, 3) for m in maps]
    return torch.cat(rows, 1)


def places_of(levels: Sequence[AnchorLevel], maps: Sequence[Tensor]) -> Places:
    """Return all anchors of the levels that the maps (N, C, h, w) belong to, in `flat`'s order."""
    sizes = tuple((m.shape[2], m.shape[3]) for m in maps)
    return _places(tuple(levels), sizes, maps[0].device)


@lru_cache(maxsize=8)
def _places(
    levels: tuple[AnchorLevel, ...], sizes: tuple[tuple[int, int], ...], device: torch.device
) -> Places:
    pairs = zip(levels, sizes, strict=True)
    boxes = torch.cat([anchor_boxes(level, *size) for level, size in pairs])
    return Places(boxes.to(device), ((boxes[:, :2] + boxes[:, 2:]) / 2).to(device))
