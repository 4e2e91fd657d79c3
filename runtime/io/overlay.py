"""Draw numbered masks on a photograph, as translucent colours with outlines; or numbered boxes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle

_TINT = 0.4
_SHADOW = 0.35  # of the dark rim that sets an outline off from its surroundings
_GOLDEN = 0.618034  # successive hues this far apart stay distinct, however many there are
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_masks(
    image: npt.NDArray[np.uint8], masks: Sequence[RLEMask], names: Sequence[str] = ()
) -> npt.NDArray[np.uint8]:
    """Draw N masks on a copy of `image`, (H, W, 3) uint8 RGB, each with its number from 1 on.

    masks   at the image's resolution; empty ones are not drawn, but have a number.
    names   written behind the numbers, "" for none; the font has ASCII's letters only, and a name
            with others is left out.
    Paints larger masks first. Raises ValueError for an image of another size.
    """
    sizes = {mask.shape for mask in masks}
    if image.ndim != 3 or image.shape[2] != 3 or not sizes <= {image.shape[:2]}:
        raise ValueError(f"image is {image.shape}, the masks' image is {sorted(sizes)}")
    areas = rle.areas(masks)
    order = [index for index in np.argsort(areas, kind="stable")[::-1].tolist() if areas[index]]
    canvas = image.copy()
    places = {}
    for index in order:
        mask, box = rle.to_array(masks[index]), rle.boxes_xywh([masks[index]])[0]
        _paint(canvas, mask, box, colour(index))
        places[index] = _deepest_pixel(mask, box)
    for index in order:
        _write(canvas, _caption(index, names), places[index], colour(index))
    return canvas


def draw_boxes(
    image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float64], names: Sequence[str] = ()
) -> npt.NDArray[np.uint8]:
    """Draw N boxes on a copy of `image`, (H, W, 3) uint8 RGB, each with its number from 1 on.

    boxes   (N, 4) XYWH in pixels, within the image.
    names   as for `draw_masks`.
    Draws larger boxes first. Raises ValueError for what is no image.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.shape}, expected (H, W, 3)")
    order = np.argsort(boxes[:, 2:].prod(axis=1), kind="stable")[::-1].tolist()
    canvas = image.copy()
    width = _line_width(image.shape[:2])
    limit = np.array([image.shape[1], image.shape[0]]) - 1
    corners = {}
    for index in order:
        low = np.floor(boxes[index, :2]).astype(int)
        corners[index] = (int(low[0]), int(low[1]))
        high = np.clip(np.ceil(boxes[index, :2] + boxes[index, 2:]).astype(int) - 1, low, limit)
        shade = 0.35 * colour(index)
        for line, paint in ((width + 2, shade), (width, colour(index))):
            rgb = np.rint(paint).tolist()
            cv2.rectangle(canvas, low.tolist(), high.tolist(), rgb, line, cv2.LINE_AA)
    for index in order:  # over all frames
        _write(canvas, _caption(index, names), corners[index], colour(index), True)
    return canvas


def _caption(index: int, names: Sequence[str]) -> str:
    name = names[index] if names and names[index].isascii() else ""
    return f"{index + 1} {name}".strip()


def _line_width(shape: Sequence[int]) -> int:
    return max(1, round(max(shape) / 400))


def colour(index: int) -> npt.NDArray[np.float32]:
    """Return the RGB colour, 0…255, of the mask of this index: (3,)."""
    return 255 * np.array(colorsys.hsv_to_rgb((0.02 + _GOLDEN * index) % 1, 0.85, 1), np.float32)


def _paint(
    canvas: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_],
    box: npt.NDArray[np.float64],
    colour: npt.NDArray[np.float32],
) -> None:
    """Tint a mask and outline it, in place, visiting only the part of the canvas around its box."""
    width = _line_width(mask.shape)
    x, y, w, h = box.astype(int)
    margin = 2 * width + 2
    part = np.s_[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin]
    inside = mask[part].astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    picture = canvas[part].astype(np.float32)
    layers = [(_TINT * inside, colour)]
    for line_width, shade, opacity in ((width + 2, 0 * colour, _SHADOW), (width, colour, 1.0)):
        line = np.zeros(inside.shape, np.uint8)
        cv2.polylines(line, contours, True, 255, line_width, cv2.LINE_AA)
        layers.append((opacity / 255 * line, shade))
    for alpha, shade in layers:
        picture += alpha.astype(np.float32)[:, :, None] * (shade - picture)
    canvas[part] = np.rint(picture)


def _deepest_pixel(mask: npt.NDArray[np.bool_], box: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Return (x, y) of the pixel of a mask that is farthest from its outline."""
    x, y, w, h = box.astype(int).tolist()
    inside = np.pad(mask[y : y + h, x : x + w].astype(np.uint8), 1)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return x + int(column) - 1, y + int(row) - 1


def _write(
    canvas: npt.NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    colour: npt.NDArray[np.float32],
    corner: bool = False,
) -> None:
    """Write black text on a plate of the colour, centred on `place` (x, y), within the canvas.

    corner  the plate has its upper left corner there instead.
    """
    height, width = canvas.shape[:2]
    scale, stroke = max(height, width) / 1600 + 0.15, max(1, round(max(height, width) / 900))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, stroke)
    pad = stroke + 1
    plate_width, plate_height = text_width + 2 * pad, text_height + 2 * pad
    if corner:
        place = (place[0] + plate_width // 2, place[1] + plate_height // 2)
    left = min(max(0, place[0] - plate_width // 2), max(0, width - plate_width))
    top = min(max(0, place[1] - plate_height // 2), max(0, height - plate_height))
    right, bottom = left + plate_width - 1, top + plate_height - 1
    plate = [float(value) for value in np.rint(0.35 * 255 + 0.65 * colour)]
    cv2.rectangle(canvas, (left, top), (right, bottom), plate, cv2.FILLED)
    cv2.rectangle(canvas, (left, top), (right, bottom), (0, 0, 0), 1)
    origin = (left + pad, bottom - pad)
    cv2.putText(canvas, text, origin, _FONT, scale, (0, 0, 0), stroke, cv2.LINE_AA)
