"""Mask targets as slices: a window's mask pixels are cells of a grid that covers the whole view.

A mask pixel of level l is a quarter stride wide, and windows begin at whole mask pixels. So an
object's share of every pixel of that width is averaged once, and each window's target is a slice.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.networks.levels import SLOTS, STRIDES


def coverage(bitmaps: npt.NDArray[np.uint8]) -> list[Tensor]:
    """(n, H, W) 0 or 1 → for each level (n, H·4/stride, W·4/stride) uint8: share of a pixel, ·255.

    H and W are multiples of 128.
    """
    count, height, width = bitmaps.shape
    levels = []
    for stride in STRIDES:
        pixel = stride // 4
        size = (width // pixel, height // pixel)
        shares = [cv2.resize(m * 255, size, interpolation=cv2.INTER_AREA) for m in bitmaps]
        stacked = np.stack(shares) if count else np.zeros((0, size[1], size[0]), np.uint8)
        levels.append(torch.from_numpy(stacked.astype(np.uint8)))
    return levels


def mask_targets(
    maps: Tensor, index: Tensor, slot: int, i: Tensor, j: Tensor
) -> tuple[Tensor, Tensor]:
    """Cut windows of one level and slot out of coverage maps.

    `maps` (n, h, w) uint8 of the level; `index`, `i`, `j` (k,) int64: map and location of each
    window. Returns (k, m, m) float32, the share of each mask pixel that is the object's, and bool,
    whether the pixel lies in the view (what lies beyond is unknown there, and 0).
    """
    _, height, width = maps.shape
    mask = SLOTS[slot].mask
    steps = torch.arange(mask)
    # The centre is at 4·(i + ½) mask pixels, the middle of the window.
    y = (4 * i + 2 - mask // 2)[:, None] + steps
    x = (4 * j + 2 - mask // 2)[:, None] + steps
    seen = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    row = index[:, None, None] * height + y.clamp(0, height - 1)[:, :, None]
    flat = row * width + x.clamp(0, width - 1)[:, None, :]
    return maps.reshape(-1)[flat].float() / 255 * seen, seen


def mask_ious(
    logits: Tensor, maps: Tensor, areas: Tensor, slot: int, i: Tensor, j: Tensor, stride: int
) -> Tensor:
    """Measure the IoU of each window's mask with each object of its picture.

    `logits` (k, m, m); `maps` (n, h, w) uint8 coverage of the picture's objects on the level;
    `areas` (n,) float32, the objects' pixels in the view; `stride` the level's. Returns (k, n).
    """
    k, n = len(i), len(maps)
    shares, seen = mask_targets(
        maps, torch.arange(n).repeat(k), slot, i.repeat_interleave(n), j.repeat_interleave(n)
    )
    painted = (logits > 0)[:, None] & seen.reshape(k, n, *seen.shape[1:])
    pixel = (stride / 4) ** 2
    inter = (shares.reshape(k, n, *shares.shape[1:]) * painted).sum((2, 3)) * pixel
    union = painted.sum((2, 3)) * pixel + areas - inter
    ious: Tensor = inter / union.clamp(min=1)
    return ious
