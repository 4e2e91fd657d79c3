"""Random looks at labelled pictures: a view of one, painted, and the objects that lie in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.networks.whole.bitmaps import paint_object, visible_box
from deepmask.networks.whole.view import Image, View, paint, random_view, recoloured

#: Objects of fewer pixels are regions to ignore; smaller or less visible ones learn nothing either.
LEAST_PIXELS, LEAST_SIDE, LEAST_SHARE = 12, 8, 0.5
#: Share of a picture's objects that are pasted onto another.
PASTED = 0.5
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
class Objects:
    """What lies in a view of a picture. Boxes are (x0, y0, x1, y1) in pixels of the view."""

    #: (n, 4) float64: box of the visible part.
    boxes: npt.NDArray[np.float64]
    #: (n,) bool: false for objects too small, or cut too short, to learn: they are ignored.
    usable: npt.NDArray[np.bool_]
    #: (m, 4): regions of crowds.
    crowds: npt.NDArray[np.float64]
    #: Whether every object of every category is labelled: if not, nothing is background.
    complete: bool


@dataclass(frozen=True)
class Look:
    """What a canvas shows of a picture: n objects that touch it.

    image     (H, W, 3) uint8 RGB.
    bitmaps   (n, H, W) uint8, 0 or 1: the visible part of each object.
    whole     (n,) float64: pixels that it has with what lies beyond the canvas or is covered.
    crowds    (m, 4): boxes of crowds, in pixels of the canvas.
    complete  whether every object is labelled.
    """

    image: Image
    bitmaps: npt.NDArray[np.uint8]
    whole: npt.NDArray[np.float64]
    crowds: npt.NDArray[np.float64]
    complete: bool


def look(picture: Picture, framing: Framing, rng: np.random.Generator) -> Look:
    """Draw a view of a picture; paint it and its objects."""
    size, canvas = (picture.height, picture.width), framing.canvas
    view = _random_view(picture, framing, rng)
    image = paint(recoloured(picture.read(), rng), view, canvas)
    things = [thing for thing in picture.objects if _touches(thing, view)]
    painted = [paint_object(thing.segmentation, size, view, canvas) for thing in things]
    return Look(
        image,
        np.stack(painted) if painted else np.zeros((0, *canvas), np.uint8),
        np.array([thing.area for thing in things], np.float64) * view.scale_x * view.scale_y,
        view.boxes(np.array(picture.crowds, np.float64).reshape(-1, 4)),
        picture.complete,
    )


def pasted(under: Look, over: Look, rng: np.random.Generator) -> Look:
    """Paste about half of the objects of one look onto another (copy-paste, arXiv:2012.07177)."""
    chosen = over.bitmaps[rng.random(len(over.bitmaps)) < PASTED]
    covered: npt.NDArray[np.bool_] = np.any(chosen, axis=0)
    return Look(
        np.where(covered[:, :, None], over.image, under.image),
        np.concatenate([under.bitmaps * ~covered, chosen]),
        np.concatenate([under.whole, chosen.sum((1, 2), dtype=np.int64).astype(np.float64)]),
        under.crowds,
        under.complete,
    )


def objects_of(seen: Look) -> tuple[npt.NDArray[np.uint8], Objects]:
    """Return the objects that are more than a speck, as bitmaps and boxes.

    Specks are regions to ignore.
    """
    pixels = np.count_nonzero(seen.bitmaps, axis=(1, 2))
    boxes = np.array([visible_box(one) for one in seen.bitmaps], np.float64).reshape(-1, 4)
    kept = pixels >= LEAST_PIXELS
    large = (boxes[:, 2:] - boxes[:, :2]).max(1) >= LEAST_SIDE
    usable = large & (pixels >= LEAST_SHARE * seen.whole)
    crowds = np.concatenate([seen.crowds, boxes[(pixels > 0) & ~kept]])
    return seen.bitmaps[kept], Objects(boxes[kept], usable[kept], crowds, seen.complete)


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
