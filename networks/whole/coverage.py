"""Mask targets as slices: a window's mask samples are cells of a grid that covers the whole view.

Windows begin at whole samples of their level and slot. So an object's share of every sample is
averaged once, and each window's target is a slice.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.networks.levels import SLOTS, STRIDES


def coverage(bitmaps: npt.NDArray[np.uint8]) -> list[list[Tensor]]:
    """Average objects over the mask samples of every level and slot.

    (n, H, W) 0 or 1, H and W multiples of 128 → for each level and slot (n, H·k/stride, W·k/stride)
    uint8, the share of a sample times 255; k = 2·`samples` is how many samples a cell has.
    """
    maps = [[_shares(bitmaps * 255, 2 * slot.samples, STRIDES[0]) for slot in SLOTS]]
    while len(maps) < len(STRIDES):
        # Each level's samples are 2×2 of the level before: the rounding is far below what matters.
        maps.append([_shares(finer, 1, 2) for finer in maps[-1]])
    return [[torch.from_numpy(m) for m in level] for level in maps]


def _shares(maps: npt.NDArray[np.uint8], part: int, whole: int) -> npt.NDArray[np.uint8]:
    """(n, h, w) → (n, h·part/whole, w·part/whole): means over areas."""
    count, height, width = maps.shape
    size = (width * part // whole, height * part // whole)
    shares = np.zeros((count, size[1], size[0]), np.uint8)
    for share, bitmap in zip(shares, maps, strict=True):
        cv2.resize(bitmap, size, dst=share, interpolation=cv2.INTER_AREA)
    return shares


def mask_targets(
    maps: Tensor, index: Tensor, slot: int, i: Tensor, j: Tensor
) -> tuple[Tensor, Tensor]:
    """Cut windows of one level and slot out of its coverage maps.

    `maps` (n, h, w) uint8; `index`, `i`, `j` (k,) int64: map and location of each window. Returns
    (k, M, M) float32, the share of each mask sample that is the object's, and bool, whether the
    sample lies in the view (what lies beyond is unknown there, and 0).
    """
    _, height, width = maps.shape
    mask, samples = SLOTS[slot].mask, SLOTS[slot].samples
    steps = torch.arange(mask, device=maps.device)
    # The centre of the location is 2·samples·(i + ½) samples from the top, and the window's middle.
    y = (samples * (2 * i + 1) - mask // 2)[:, None] + steps
    x = (samples * (2 * j + 1) - mask // 2)[:, None] + steps
    seen = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    row = index[:, None, None] * height + y.clamp(0, height - 1)[:, :, None]
    flat = row * width + x.clamp(0, width - 1)[:, None, :]
    return maps.reshape(-1)[flat].float() / 255 * seen, seen


def mask_ious(
    logits: Tensor, maps: Tensor, areas: Tensor, slot: int, i: Tensor, j: Tensor, stride: int
) -> Tensor:
    """Measure the IoU of each window's mask with each object of its picture.

    `logits` (k, M, M); `maps` (n, h, w) uint8, the objects' coverage for the level and slot;
    `areas` (n,) float32, the objects' pixels in the view; `stride` the level's. Returns (k, n).
    """
    k, n = len(i), len(maps)
    index = torch.arange(n, device=i.device).repeat(k)
    shares, seen = mask_targets(maps, index, slot, i.repeat_interleave(n), j.repeat_interleave(n))
    painted = (logits > 0)[:, None] & seen.reshape(k, n, *seen.shape[1:])
    pixel = (stride / (2 * SLOTS[slot].samples)) ** 2
    inter = (shares.reshape(k, n, *shares.shape[1:]) * painted).sum((2, 3)) * pixel
    union = painted.sum((2, 3)) * pixel + areas - inter
    ious: Tensor = inter / union.clamp(min=1)
    return ious
