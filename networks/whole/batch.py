"""A batch for `fpn-lite`: views of pictures, and the targets of every location on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.networks.family import TensorBatch
from deepmask.networks.levels import STRIDES
from deepmask.networks.whole.assign import LevelTargets, assign, choose_windows
from deepmask.networks.whole.coverage import coverage
from deepmask.networks.whole.look import Look, Objects, objects_of
from deepmask.networks.whole.view import Image


@dataclass(frozen=True)
class Batch(TensorBatch):
    """A batch, or a process's share of it: n objects, k windows, B pictures of H × W."""

    #: (B, H, W, 3) uint8 RGB.
    images: Tensor
    #: Per level and slot (n, h, w) uint8: see `coverage`.
    maps: list[list[Tensor]]
    #: (n,) float32 pixels in the view, and int64 the picture of each object.
    areas: Tensor
    picture: Tensor
    #: Per level (B, slots, h, w): int8 label, float32 quality, bool whether there is an owner.
    label: list[Tensor]
    quality: list[Tensor]
    owned: list[Tensor]
    #: (k, 6) int64: picture, slot, level, i, j, object.
    windows: Tensor
    #: (B,) bool.
    complete: Tensor
    #: (m, 5) float32: picture and box (x0, y0, x1, y1) of crowds.
    crowds: Tensor
    #: (B,) int64: decides what is random about each picture's losses.
    seeds: Tensor


@dataclass(frozen=True)
class _Sample:
    image: Image
    bitmaps: npt.NDArray[np.uint8]
    objects: Objects
    targets: list[LevelTargets]
    windows: npt.NDArray[np.int64]
    seed: int


def make_batch(
    looks: Sequence[Look],
    generators: Sequence[np.random.Generator],
    windows_each: int = 8,
    windows_most: int = 72,
) -> Batch:
    """Make the targets of looks at pictures, whose windows are drawn by a generator of their own.

    At most `windows_each` windows an object, `windows_most` a picture, teach masks.
    """
    samples = []
    for seen, rng in zip(looks, generators, strict=True):
        bitmaps, objects = objects_of(seen)
        targets = assign(objects, *seen.image.shape[:2])
        windows = choose_windows(targets, rng, windows_each, windows_most)
        seed = int(rng.integers(2**62))
        samples.append(_Sample(seen.image, bitmaps, objects, targets, windows, seed))
    return _collate(samples)


def _collate(samples: Sequence[_Sample]) -> Batch:
    counts = [len(s.bitmaps) for s in samples]
    bitmaps = np.concatenate([s.bitmaps for s in samples])
    first = np.cumsum([0, *counts[:-1]])
    windows = [
        np.column_stack([np.full(len(s.windows), n), s.windows + np.array([0, 0, 0, 0, start])])
        for n, (s, start) in enumerate(zip(samples, first, strict=True))
    ]
    crowds = [
        np.column_stack([np.full(len(s.objects.crowds), n), s.objects.crowds])
        for n, s in enumerate(samples)
    ]
    levels = range(len(STRIDES))

    def stacked(name: str, level: int) -> Tensor:
        return torch.from_numpy(np.stack([getattr(s.targets[level], name) for s in samples]))

    return Batch(
        images=torch.from_numpy(np.stack([s.image for s in samples])),
        maps=coverage(bitmaps),
        areas=torch.from_numpy(bitmaps.sum((1, 2), dtype=np.int64).astype(np.float32)),
        picture=torch.from_numpy(np.repeat(np.arange(len(samples)), counts)),
        label=[stacked("label", level) for level in levels],
        quality=[stacked("quality", level) for level in levels],
        owned=[stacked("owner", level) >= 0 for level in levels],
        windows=torch.from_numpy(np.concatenate(windows).astype(np.int64)),
        complete=torch.tensor([s.objects.complete for s in samples]),
        crowds=torch.from_numpy(np.concatenate(crowds).astype(np.float32)),
        seeds=torch.tensor([s.seed for s in samples]),
    )
