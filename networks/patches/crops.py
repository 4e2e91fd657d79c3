"""Cut patches out of pictures, and masks to match, by one warp each."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepmask.coco.annotations import Annotation, Image, full_mask
from deepmask.coco.pictures import read_picture
from deepmask.networks.config import BORDER_FILL
from deepmask.networks.patches.sampling import Positive, Window

#: Halvings of a picture that are kept for anti-aliased shrinking: up to 2^-4.
LEVELS = 5

Item = TypeVar("Item")


class ByteCache(Generic[Item]):
    """Keep the items used last, up to a number of bytes; threads may share it."""

    def __init__(self, limit: int, size_of: Callable[[Item], int]) -> None:
        """`limit` in bytes, as counted by `size_of`."""
        self._limit = limit
        self._size_of = size_of
        self._items: OrderedDict[Hashable, Item] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """Return the item of `key`, made now if it is not there; two threads may both make it."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        item = make()
        with self._lock:
            if key not in self._items:
                self._items[key] = item
                self._bytes += self._size_of(item)
            while self._bytes > self._limit and len(self._items) > 1:
                _, dropped = self._items.popitem(last=False)
                self._bytes -= self._size_of(dropped)
        return item


class Cropper:
    """Cut patches and masks; decode each picture once while the cache has room.

    cache_bytes: memory for decoded pictures and masks; full COCO needs about 150 GB to keep all,
    less only costs decoding again.
    """

    def __init__(self, cache_bytes: int) -> None:
        """Three quarters of the memory hold pictures, one quarter masks."""
        self._pictures: ByteCache[list[NDArray[np.uint8]]] = ByteCache(
            cache_bytes * 3 // 4, lambda levels: sum(level.nbytes for level in levels)
        )
        self._masks: ByteCache[tuple[NDArray[np.uint8], int, int]] = ByteCache(
            cache_bytes // 4, lambda item: item[0].nbytes
        )

    def patches(self, places: Sequence[tuple[Image, Window]], size: int) -> Tensor:
        """Cut a `patch` at each place: uint8 (N, 3, size, size) in channels-last memory."""
        patches = np.stack([self.patch(image, window, size) for image, window in places])
        return torch.from_numpy(patches).permute(0, 3, 1, 2)

    def masks(self, positives: Sequence[Positive], patch: int, size: int) -> Tensor:
        """Cut a `mask` for each positive: uint8 (M, size, size), 0 or 1."""
        masks = np.zeros((len(positives), size, size), np.uint8)
        for mask, positive in zip(masks, positives, strict=True):
            mask[:] = self.mask(positive.instance, positive.window, patch, size)
        return torch.from_numpy(masks)

    def patch(self, image: Image, window: Window, size: int) -> NDArray[np.uint8]:
        """Cut out the picture under `window`: uint8 RGB (size, size, 3), gray beyond its edge.

        Shrinking starts from a halved picture, so that fine texture does not alias. The runtime
        shrinks by areas instead. On ten photographs, scores of the shipped model after one and the
        other differ by 0.03 on average, where they spread by 4, and share 98 of the best 100.
        """
        levels = self._pictures.get(image, lambda: pyramid(read_picture(image)))
        source = levels[level_of(window, len(levels))]
        ratio = (source.shape[1] / image.width, source.shape[0] / image.height)
        matrix = matrix_of(window, size, 1.0, ratio, (0.0, 0.0))
        return cv2.warpAffine(  # type: ignore[return-value]
            source,
            matrix,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(BORDER_FILL, BORDER_FILL, BORDER_FILL),
        )

    def mask(
        self, instance: Annotation, window: Window, patch: int, size: int
    ) -> NDArray[np.uint8]:
        """Cut the object's mask, 0 or 1, under a window of `patch` px drawn at (size, size)."""
        shape, left, top = self._masks.get(instance, lambda: tight(full_mask(instance)))
        matrix = matrix_of(window, size, patch / size, (1.0, 1.0), (left, top))
        soft = cv2.warpAffine(
            shape, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return (soft > 127).astype(np.uint8)


def pyramid(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the picture and its halvings, at most `LEVELS` in all."""
    levels = [picture]
    while len(levels) < LEVELS and min(levels[-1].shape[:2]) >= 2:
        height, width = levels[-1].shape[:2]
        size = ((width + 1) // 2, (height + 1) // 2)
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    return levels


def level_of(window: Window, levels: int) -> int:
    """Return the pyramid level to cut a window from: the smallest that need not be magnified."""
    return int(np.clip(np.floor(-np.log2(window.scale)), 0, levels - 1))


def tight(mask: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int, int]:
    """Return the mask's own rectangle as 0 or 255, and the place of its top left corner."""
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return np.zeros((1, 1), np.uint8), 0, 0
    return np.ascontiguousarray(mask[y : y + height, x : x + width]) * np.uint8(255), x, y


def matrix_of(
    window: Window, size: int, step: float, ratio: tuple[float, float], origin: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the map from the index of a target pixel to its index in the source.

    Both have pixel centres at +0.5.

    A target pixel is `step` patch px wide; the source is the picture from `origin` on, resized by
    `ratio` (x, y).
    """
    across = (-step if window.flip else step) / window.scale
    down = step / window.scale
    half = (size - 1) / 2
    return np.array(
        [
            [across * ratio[0], 0, (window.x - origin[0] - across * half) * ratio[0] - 0.5],
            [0, down * ratio[1], (window.y - origin[1] - down * half) * ratio[1] - 0.5],
        ]
    )
