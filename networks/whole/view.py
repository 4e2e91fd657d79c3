"""A view of a picture: scaled, cut to a canvas, perhaps mirrored; drawn at random for training.

A view of factor s has round(s·H) × round(s·W) pixels, of which the canvas shows a part. Pixel
centres are at +0.5. What the picture does not fill is FILL, at the right and at the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

#: Gray level of the canvas beyond the picture.
FILL = 127
#: Below this factor pictures are averaged over areas, as the runtime does.
AVERAGED_BELOW = 0.7

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Where a canvas pixel lies in the picture. Pixels of the canvas unless said otherwise."""

    #: Pixels of the whole view for each of the picture's, along x and along y.
    scale_x: float
    scale_y: float
    #: First column and row of the view that the canvas shows.
    left: int
    top: int
    #: Part of the canvas that the picture fills.
    width: int
    height: int
    mirrored: bool

    def points(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, 2) x, y of the picture → of the canvas."""
        moved = xy * [self.scale_x, self.scale_y] - [self.left, self.top]
        if self.mirrored:
            moved[:, 0] = self.width - moved[:, 0]
        return moved

    def boxes(self, xywh: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, 4) x, y, width, height of the picture → x0, y0, x1, y1 of the canvas, not cut."""
        a, b = self.points(xywh[:, :2]), self.points(xywh[:, :2] + xywh[:, 2:])
        return np.concatenate([np.minimum(a, b), np.maximum(a, b)], 1)

    def affine(self, origin_x: int = 0, origin_y: int = 0) -> npt.NDArray[np.float32]:
        """(2, 3) for `cv2.warpAffine` with WARP_INVERSE_MAP: canvas pixel → picture pixel.

        The picture given to it may be a cut of the picture that begins at the origin.
        """
        sign = -1 if self.mirrored else 1
        start = self.width - 0.5 if self.mirrored else 0.5
        ax, ay = 1 / self.scale_x, 1 / self.scale_y
        bx = (start + self.left) * ax - 0.5 - origin_x
        by = (0.5 + self.top) * ay - 0.5 - origin_y
        return np.array([[sign * ax, 0, bx], [0, ay, by]], np.float32)


def random_view(
    size: tuple[int, int],
    canvas: tuple[int, int],
    longer_side: float,
    focus: tuple[float, float] | None,
    rng: np.random.Generator,
) -> View:
    """Draw where the canvas lies.

    `size`: the picture's height and width; `canvas`: the canvas'; `longer_side`: of the whole view;
    `focus`: x, y of the picture that shall be seen (about the middle), or None for anywhere.
    """
    scale = longer_side / max(size)
    height, width = (max(1, round(scale * side)) for side in size)
    scale_y, scale_x = height / size[0], width / size[1]
    if focus is None:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
    else:
        reach = min(canvas) / 4
        x = focus[0] * scale_x + rng.uniform(-reach, reach)
        y = focus[1] * scale_y + rng.uniform(-reach, reach)
    left = int(np.clip(x - canvas[1] / 2, 0, max(0, width - canvas[1])))
    top = int(np.clip(y - canvas[0] / 2, 0, max(0, height - canvas[0])))
    return View(
        scale_x,
        scale_y,
        left,
        top,
        min(canvas[1], width - left),
        min(canvas[0], height - top),
        bool(rng.random() < 0.5),
    )


def paint(image: Image, view: View, canvas: tuple[int, int]) -> Image:
    """Paint what the view shows of `image`, (H, W, 3) uint8, on a canvas of FILL."""
    out = np.full((*canvas, 3), FILL, np.uint8)
    out[: view.height, : view.width] = _seen(image, view)
    return out


def _seen(image: Image, view: View) -> Image:
    if view.scale_x < AVERAGED_BELOW:
        size = (round(view.scale_x * image.shape[1]), round(view.scale_y * image.shape[0]))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        part = small[view.top : view.top + view.height, view.left : view.left + view.width]
        return np.asarray(part[:, ::-1] if view.mirrored else part, np.uint8)
    # Only the part that is seen is handed over: warping is several times faster from a small one.
    x0, y0 = int(view.left / view.scale_x), int(view.top / view.scale_y)
    x1 = int((view.left + view.width) / view.scale_x)
    y1 = int((view.top + view.height) / view.scale_y)
    x0, y0 = max(0, x0 - 2), max(0, y0 - 2)
    part = np.ascontiguousarray(image[y0 : y1 + 3, x0 : x1 + 3])
    return np.asarray(
        cv2.warpAffine(
            part,
            view.affine(x0, y0),
            (view.width, view.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )


def recoloured(image: Image, rng: np.random.Generator) -> Image:
    """Change saturation, brightness, contrast and cast: one 3×4 matrix on (H, W, 3) uint8."""
    kind = rng.random()
    saturation = 0.0 if kind < 0.05 else rng.uniform(0.6, 1.4) if kind < 0.55 else 1.0
    bright, contrast = rng.uniform(0.7, 1.3, 2)
    mean = float(np.mean(cv2.mean(image)[:3])) * bright
    matrix = (np.eye(3) * saturation + (1 - saturation) / 3) * bright * contrast
    shift = mean * (1 - contrast) + rng.uniform(-15, 15, 3)
    both = np.concatenate([matrix, shift[:, None]], 1).astype(np.float32)
    return np.asarray(cv2.transform(image, both), np.uint8)
