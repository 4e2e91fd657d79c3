"""A batch for `fpn-lite`: views of pictures, and the targets of every location on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmask.networks.family import TensorBatch
from deepmask.networks.levels import STRIDES
from deepmask.networks.whole.assign import LevelTargets, Objects, assign, choose_windows
from deepmask.networks.whole.bitmaps import paint_object, visible_box
from deepmask.networks.whole.coverage import coverage
from deepmask.networks.whole.view import Image, View, paint, random_view, recoloured

#: Objects of fewer pixels are regions to ignore; smaller or less visible ones learn nothing either.
LEAST_PIXELS, LEAST_SIDE, LEAST_SHARE = 12, 8, 0.5
#: A large object has this share of a crop's side.
LARGE = (0.4, 0.95)


@dataclass(frozen=True)
class Labelled:
    """An object of a picture, as COCO describes it."""

    box: tuple[float, float, float, float]
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any]
    area: float


@dataclass(frozen=True)
class Picture:
    """A training picture. `read` gives it as (H, W, 3) uint8 RGB."""

    read: Callable[[], Image]
    height: int
    width: int
    objects: Sequence[Labelled]
    crowds: Sequence[tuple[float, float, float, float]]
    complete: bool


@dataclass(frozen=True)
class Framing:
    """How pictures are framed.

    canvas   height and width, multiples of 128.
    octaves  longer side of the whole view: 1024 px times two to the power of these, uniformly.
    focused  share of the views that have an object near the middle.
    large    share of those in which the object fills the canvas, as far as `octaves` allow.
    """

    canvas: tuple[int, int]
    octaves: tuple[float, float]
    focused: float = 0.0
    large: float = 0.0


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
    #: What the mean losses of these pictures count in those of the whole batch.
    weight: float = 1.0


@dataclass(frozen=True)
class _Sample:
    image: Image
    bitmaps: npt.NDArray[np.uint8]
    objects: Objects
    targets: list[LevelTargets]
    windows: npt.NDArray[np.int64]


def make_batch(
    pictures: Sequence[Picture],
    framing: Framing,
    generators: Sequence[np.random.Generator],
    windows_each: int = 8,
    windows_most: int = 72,
    weight: float = 1.0,
) -> Batch:
    """Draw a view of each picture, by a generator of its own, and make its targets.

    At most `windows_each` windows an object, `windows_most` a picture, teach masks.
    """
    samples = []
    for picture, rng in zip(pictures, generators, strict=True):
        image, bitmaps, objects = _look(picture, framing, rng)
        targets = assign(objects, *framing.canvas)
        windows = choose_windows(targets, rng, windows_each, windows_most)
        samples.append(_Sample(image, bitmaps, objects, targets, windows))
    return _collate(samples, weight)


def _look(
    picture: Picture, framing: Framing, rng: np.random.Generator
) -> tuple[Image, npt.NDArray[np.uint8], Objects]:
    """Draw a view of a picture; paint it and its objects."""
    size = (picture.height, picture.width)
    view = _random_view(picture, framing, rng)
    image = paint(recoloured(picture.read(), rng), view, framing.canvas)
    bitmaps, boxes, usable, specks = [], [], [], []
    for thing in picture.objects:
        if not _touches(thing, view):
            continue
        bitmap = paint_object(thing.segmentation, size, view, framing.canvas)
        seen = int(np.count_nonzero(bitmap))
        box = visible_box(bitmap)
        if seen < LEAST_PIXELS:
            specks += [box] if seen else []
            continue
        whole = thing.area * view.scale_x * view.scale_y
        large = max(box[2] - box[0], box[3] - box[1]) >= LEAST_SIDE
        bitmaps.append(bitmap)
        boxes.append(box)
        usable.append(large and seen >= LEAST_SHARE * whole)
    objects = Objects(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(usable, bool),
        np.concatenate(
            [
                view.boxes(np.array(picture.crowds, np.float64).reshape(-1, 4)),
                np.array(specks, np.float64).reshape(-1, 4),
            ]
        ),
        picture.complete,
    )
    empty = np.zeros((0, *framing.canvas), np.uint8)
    return image, np.stack(bitmaps) if bitmaps else empty, objects


def _random_view(picture: Picture, framing: Framing, rng: np.random.Generator) -> View:
    size = (picture.height, picture.width)
    octaves, focus = rng.uniform(*framing.octaves), None
    if picture.objects and rng.random() < framing.focused:
        x, y, width, height = picture.objects[int(rng.integers(len(picture.objects)))].box
        focus = (x + width / 2, y + height / 2)
        if rng.random() < framing.large:
            side = rng.uniform(*LARGE) * min(framing.canvas)
            filled = np.log2(max(size) * side / max(1.0, width, height) / 1024)
            octaves = float(np.clip(filled, *framing.octaves))
    return random_view(size, framing.canvas, 1024 * 2**octaves, focus, rng)


def _touches(thing: Labelled, view: View) -> bool:
    x0, y0, x1, y1 = view.boxes(np.array([thing.box], np.float64))[0]
    return bool(x1 > 0 and y1 > 0 and x0 < view.width and y0 < view.height)


def _collate(samples: Sequence[_Sample], weight: float) -> Batch:
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
        weight=weight,
    )
