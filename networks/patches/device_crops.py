"""Cut whole batches on the training device; pictures and masks are uploaded once.

Everything lies in two flat tables of pixels; a batch is a few gathers from them, whatever the sizes
of its pictures. Patches and masks are those of `crops`, up to OpenCV's rounding of coordinates to
1/32 px.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from deepmask.coco.annotations import Annotation, Image, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture
from deepmask.networks.config import BORDER_FILL
from deepmask.networks.patches.crops import (
    level_of,
    level_sizes,
    matrix_of,
    pyramid,
    tight,
)
from deepmask.networks.patches.sampling import Positive, Window

Thing = TypeVar("Thing")
Made = TypeVar("Made")


class PixelTable:
    """Hold pictures of given sizes, (h, w, C) uint8, one after the other as rows of C values."""

    def __init__(
        self, sizes: Sequence[tuple[int, int]], channels: int, device: torch.device
    ) -> None:
        """Make room for pictures of these (width, height), to be `put`.

        Raises `LabelError` where the device has not so much memory, before anything is decoded.
        """
        pixels = np.array([width * height for width, height in sizes], np.int64)
        self._ends = np.cumsum(pixels)
        self._starts = self._ends - pixels
        total = int(pixels.sum())
        try:
            self._rows = torch.empty((total, channels), dtype=torch.uint8, device=device)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            raise LabelError(
                f"--crops device: {total * channels / 1e9:.1f} GB for pictures or masks are more "
                f"than {device} has free: use --crops host"
            ) from error
        self._start = self._upload(self._starts)
        self._width, self._height = self._upload(np.array(sizes, np.int64).reshape(-1, 2)).unbind(1)

    def put(self, index: int, picture: NDArray[np.uint8]) -> None:
        """Upload picture `index`, (h, w, C) of the size that was given."""
        rows = torch.from_numpy(picture.reshape(-1, picture.shape[2]))
        self._rows[self._starts[index] : self._ends[index]] = rows.to(self._rows.device)

    def _upload(self, values: NDArray[Any]) -> Tensor:
        tensor, device = torch.from_numpy(values), self._rows.device
        if device.type == "cuda":
            tensor = tensor.pin_memory()  # so that nobody waits for the copy
        return tensor.to(device, non_blocking=True)

    def sample(
        self, which: Sequence[int], matrices: NDArray[np.float64], size: int, fill: float
    ) -> Tensor:
        """Return bilinear samples (N, size, size, C) float32 of pictures, `fill` beyond them.

        which: numbers of the pictures.
        matrices: (N, 2, 3), from (column, row) of the sample to that of the picture, no shear.
        """
        chosen = self._upload(np.array(which, np.int64))
        matrix = self._upload(matrices)
        steps = torch.arange(size, device=matrix.device)
        x = matrix[:, 0, 0, None] * steps + matrix[:, 0, 2, None]
        y = matrix[:, 1, 1, None] * steps + matrix[:, 1, 2, None]
        left, top = x.floor(), y.floor()
        right_share, bottom_share = (x - left).float(), (y - top).float()
        result = torch.zeros((), device=matrix.device)
        for down, share_y in enumerate((1 - bottom_share, bottom_share)):
            for across, share_x in enumerate((1 - right_share, right_share)):
                share = (share_y[:, :, None] * share_x[:, None, :])[..., None]
                values = self._at(chosen, top.long() + down, left.long() + across, fill)
                result = result + share * values
        return result

    def _at(self, chosen: Tensor, row: Tensor, col: Tensor, fill: float) -> Tensor:
        # Pixels (N, R, C', C) at rows (N, R) and columns (N, C').
        height, width = self._height[chosen, None], self._width[chosen, None]
        inside = ((row >= 0) & (row < height))[:, :, None] & ((col >= 0) & (col < width))[:, None]
        row, col = row.clamp(min=0).minimum(height - 1), col.clamp(min=0).minimum(width - 1)
        index = self._start[chosen, None, None] + (row * width)[:, :, None] + col[:, None]
        return torch.where(inside[..., None], self._rows[index].float(), fill)


class DeviceCropper:
    """Cut patches and masks of one set of pictures and objects, as `Cropper` does."""

    def __init__(
        self,
        images: Iterable[Image],
        instances: Iterable[Annotation],
        device: torch.device,
        threads: int,
    ) -> None:
        """Decode every picture and draw every mask, with a progress bar on a terminal.

        Raises `LabelError` for a picture that is unreadable, and where they need too much memory.
        """
        unique = list({image.path: image for image in images}.values())
        self._levels: dict[Hashable, tuple[int, list[tuple[int, int]]]] = {}
        sizes: list[tuple[int, int]] = []
        for image in unique:
            levels = level_sizes(image.width, image.height)
            self._levels[image.path] = (len(sizes), levels)
            sizes += levels
        self._pictures = PixelTable(sizes, 3, device)
        decoded = _made(unique, lambda one: pyramid(read_picture(one)), threads, "image")
        for image, pictures in decoded:
            for depth, picture in enumerate(pictures):
                self._pictures.put(self._levels[image.path][0] + depth, picture)
        self._shapes: dict[Hashable, tuple[int, int, int]] = {}
        masks: list[NDArray[np.uint8]] = []
        drawn = _made(list(instances), lambda one: tight(full_mask(one)), threads, "mask")
        for item, (mask, x, y) in drawn:
            self._shapes[item] = (len(masks), x, y)
            masks.append(mask[..., None])
        self._masks = PixelTable([(mask.shape[1], mask.shape[0]) for mask in masks], 1, device)
        for index, mask in enumerate(masks):
            self._masks.put(index, mask)

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


def _made(
    things: Sequence[Thing], make: Callable[[Thing], Made], threads: int, unit: str
) -> Iterable[tuple[Thing, Made]]:
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(make, things)
        shown = tqdm(made, total=len(things), unit=unit, disable=not sys.stderr.isatty())
        yield from zip(things, shown, strict=True)
