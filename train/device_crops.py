"""Cutting whole batches on the training device: pictures and masks are uploaded once.

Everything lies in two flat tables of pixels; a batch is a few gathers from them, whatever the sizes
of its pictures. Patches and masks are those of `crops`, up to OpenCV's rounding of coordinates to
1/32 px.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from deepmask.train.annotations import Image, Instance, full_mask
from deepmask.train.config import BORDER_FILL
from deepmask.train.crops import level_of, matrix_of, pyramid, read_picture, tight
from deepmask.train.sampling import Positive, Window

Thing = TypeVar("Thing")


class PixelTable:
    """Pictures of any sizes, (h, w, C) uint8, one after the other as rows of C values."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], device: torch.device) -> None:
        """Uploads all of them."""
        flat = [picture.reshape(-1, picture.shape[2]) for picture in pictures]
        ends = np.cumsum([len(rows) for rows in flat])
        self._rows = torch.from_numpy(np.concatenate(flat)).to(device)
        self._start = torch.from_numpy(np.concatenate(([0], ends[:-1]))).to(device)
        sizes = np.array([picture.shape[:2] for picture in pictures], np.int64)
        self._height, self._width = torch.from_numpy(sizes).to(device).unbind(1)

    def sample(
        self, which: Sequence[int], matrices: NDArray[np.float64], size: int, fill: float
    ) -> Tensor:
        """Bilinear samples (N, size, size, C) float32 of the pictures `which`, `fill` beyond them.

        matrices: (N, 2, 3), from (column, row) of the sample to that of the picture, no shear.
        """
        device = self._rows.device
        chosen = torch.tensor(which, dtype=torch.int64, device=device)
        matrix = torch.from_numpy(matrices).to(device)
        steps = torch.arange(size, device=device)
        x = matrix[:, 0, 0, None] * steps + matrix[:, 0, 2, None]
        y = matrix[:, 1, 1, None] * steps + matrix[:, 1, 2, None]
        left, top = x.floor(), y.floor()
        right_share, bottom_share = (x - left).float(), (y - top).float()
        result = None
        for down in (0, 1):
            for across in (0, 1):
                share_y = bottom_share if down else 1 - bottom_share
                share_x = right_share if across else 1 - right_share
                share = (share_y[:, :, None] * share_x[:, None, :])[..., None]
                values = self._at(chosen, top.long() + down, left.long() + across, fill)
                result = share * values if result is None else result + share * values
        assert result is not None
        return result

    def _at(self, chosen: Tensor, row: Tensor, col: Tensor, fill: float) -> Tensor:
        """Pixels (N, R, C', C) at rows (N, R) and columns (N, C')."""
        height, width = self._height[chosen, None], self._width[chosen, None]
        inside = ((row >= 0) & (row < height))[:, :, None] & ((col >= 0) & (col < width))[:, None]
        row, col = row.clamp(min=0).minimum(height - 1), col.clamp(min=0).minimum(width - 1)
        index = self._start[chosen, None, None] + (row * width)[:, :, None] + col[:, None]
        return torch.where(inside[..., None], self._rows[index].float(), fill)


class DeviceCropper:
    """Cuts patches and masks of one set of pictures and objects; stands in for `Cropper`."""

    def __init__(
        self,
        images: Iterable[Image],
        instances: Iterable[Instance],
        device: torch.device,
        threads: int,
    ) -> None:
        """Decodes every picture and draws every mask, with a progress bar on a terminal."""
        self._levels: dict[Hashable, tuple[int, list[tuple[int, int]]]] = {}
        flat: list[NDArray[np.uint8]] = []
        unique = list({image.path: image for image in images}.values())
        for image, levels in _made(
            unique, lambda one: pyramid(read_picture(one)), threads, "image"
        ):
            sizes = [(level.shape[1], level.shape[0]) for level in levels]
            self._levels[image.path] = (len(flat), sizes)
            flat += levels
        self._pictures = PixelTable(flat, device)
        self._shapes: dict[Hashable, tuple[int, int, int]] = {}
        masks: list[NDArray[np.uint8]] = []
        for item, (mask, x, y) in _made(
            list(instances), lambda one: tight(full_mask(one)), threads, "mask"
        ):
            self._shapes[item] = (len(masks), x, y)
            masks.append(mask[..., None])
        self._masks = PixelTable(masks or [np.zeros((1, 1, 1), np.uint8)], device)

    def patches(self, places: Sequence[tuple[Image, Window]], size: int) -> Tensor:
        """uint8 (N, 3, size, size) in channels-last memory; see `Cropper.patch`."""
        which, matrices = [], []
        for image, window in places:
            first, sizes = self._levels[image.path]
            depth = level_of(window, len(sizes))
            ratio = (sizes[depth][0] / image.width, sizes[depth][1] / image.height)
            which.append(first + depth)
            matrices.append(matrix_of(window, size, 1.0, ratio, (0.0, 0.0)))
        sampled = self._pictures.sample(which, np.stack(matrices), size, BORDER_FILL)
        return sampled.round().to(torch.uint8).permute(0, 3, 1, 2)

    def masks(self, positives: Sequence[Positive], patch: int, size: int) -> Tensor:
        """uint8 (M, size, size), 0 or 1; see `Cropper.mask`."""
        which, matrices = [], []
        for positive in positives:
            index, x, y = self._shapes[positive.instance]
            which.append(index)
            matrices.append(matrix_of(positive.window, size, patch / size, (1.0, 1.0), (x, y)))
        soft = self._masks.sample(which, np.array(matrices).reshape(-1, 2, 3), size, 0.0)[..., 0]
        return (soft.round() > 127).to(torch.uint8)


Made = TypeVar("Made")


def _made(
    things: Sequence[Thing], make: Callable[[Thing], Made], threads: int, unit: str
) -> Iterable[tuple[Thing, Made]]:
    """Each thing with what `make` makes of it, in order."""
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(make, things)
        yield from zip(
            things,
            tqdm(made, total=len(things), unit=unit, disable=not sys.stderr.isatty()),
            strict=True,
        )
