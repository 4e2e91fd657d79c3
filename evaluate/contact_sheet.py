"""Draw a run as in the paper's figure 3: the best proposal of each object, missed ones in red.

During a run a few of its images become tiles in the folder; at the end the tiles are laid out on
one sheet. So the sheet needs neither the images nor the proposals again.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from deepmask.evaluate.folder import SHEET_NAME, TILES_FOLDER
from deepmask.evaluate.ground_truth import GroundTruth, Objects
from deepmask.evaluate.matching import Candidates, overlaps
from deepmask.runtime.io.atomic import atomic_write, remove_stale

TILES = 12
#: An object is missed if no proposal overlaps it by more than this (the paper's figure 3).
MISSED_BELOW = 0.5

_TILE_HEIGHT = 300
_SHEET_WIDTH = 1800
_GAP = 12
_CAPTION = 22
_HEADER = 40
_TINY = 300  # pixels of the tile
_WIDEST_TILE = 10_000
_LONGEST_CAPTION = 100
_RED = (230, 20, 20)

Pixels = npt.NDArray[np.uint8]


def choose_tiles(truth: GroundTruth, image_ids: Sequence[int], count: int = TILES) -> set[int]:
    """Choose images to show: with objects, evenly spaced over the run."""
    shown = [image_id for image_id in image_ids if truth.annotations.get(image_id)]
    if len(shown) <= count:
        return set(shown)
    return {shown[round(k * (len(shown) - 1) / (count - 1))] for k in range(count)}


def write_tile(
    folder: Path, image_id: int, image: Pixels, objects: Objects, candidates: Candidates, kind: str
) -> None:
    """Draw one image, (H, W, 3) uint8 RGB, and keep it in the folder with its caption."""
    ious = overlaps(candidates, objects, kind)
    best = ious.argmax(axis=0) if len(ious) else np.zeros(len(objects.ids), np.int64)
    found = ious.max(axis=0, initial=0) > MISSED_BELOW
    scale = _TILE_HEIGHT / image.shape[0]
    size = (max(1, round(image.shape[1] * scale)), _TILE_HEIGHT)
    tile = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    tile = tile * 0.75 + 0.25 * tile.mean(axis=2, keepdims=True)
    colours = _distinct(int(found.sum()))
    # Large objects first, so that what lies in front of them stays visible.
    order = sorted(np.flatnonzero(found), key=lambda g: -objects.areas[g])
    for colour, g in zip(colours, order, strict=True):
        _paint(tile, _shape_of(candidates, int(best[g]), kind, image.shape, size), colour)
    for g in np.flatnonzero(~found):
        _outline(tile, _shape_of(objects, int(g), kind, image.shape, size), _RED)
    caption = PngInfo()
    caption.add_text("Description", f"{image_id}: {int(found.sum())} of {len(found)} found")
    (folder / TILES_FOLDER).mkdir(exist_ok=True)
    path = folder / TILES_FOLDER / f"{image_id:012d}.png"
    pixels = tile.clip(0, 255).astype(np.uint8)
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, format="PNG", pnginfo=caption)
    remove_stale(path)


def write_sheet(folder: Path, title: str) -> Path | None:
    """Lay the folder's tiles out in rows of equal width; return the sheet, None without tiles."""
    paths = sorted((folder / TILES_FOLDER).glob("*.png"))[:TILES]
    tiles = [tile for path in paths if (tile := _read_tile(path)) is not None]
    if not tiles:
        (folder / SHEET_NAME).unlink(missing_ok=True)  # an older one is of other objects
        return None
    rows = _justify(tiles)
    height = _HEADER + sum(row[0][0].height + _CAPTION + _GAP for row in rows)
    sheet = Image.new("RGB", (_SHEET_WIDTH, height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, 11), title, fill="black", font=ImageFont.load_default(16))
    y = _HEADER
    for row in rows:
        x = _GAP
        for image, caption in row:
            sheet.paste(image, (x, y))
            where = (x, y + image.height + 4)
            pen.text(where, caption, fill="#555555", font=ImageFont.load_default(13))
            x += image.width + _GAP
        y += row[0][0].height + _CAPTION + _GAP
    path = folder / SHEET_NAME
    with atomic_write(path) as file:
        sheet.save(file, format="JPEG", quality=90)
    remove_stale(path)
    return path


def _read_tile(path: Path) -> tuple[Image.Image, str] | None:
    """Return a tile and its caption; None for a file that `write_tile` did not write.

    Folders that are merged may come from anywhere, and Pillow starts other programs for some of the
    formats that it knows by their content.
    """
    try:
        with Image.open(path, formats=["PNG"]) as file:
            if file.height != _TILE_HEIGHT or file.width > _WIDEST_TILE:
                return None
            return file.convert("RGB"), str(file.info.get("Description", ""))[:_LONGEST_CAPTION]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _justify(
    tiles: Sequence[tuple[Image.Image, str]],
) -> list[list[tuple[Image.Image, str]]]:
    """Arrange tiles in rows as wide as the sheet; tiles of a row share a height."""
    rows: list[list[tuple[Image.Image, str]]] = [[]]
    for tile in tiles:
        if rows[-1] and _row_width(rows[-1]) + tile[0].width + _GAP > _SHEET_WIDTH * 1.1:
            rows.append([])
        rows[-1].append(tile)
    fitted = []
    for number, row in enumerate(rows):
        gaps = _GAP * (len(row) + 1)
        factor = (_SHEET_WIDTH - gaps) / sum(image.width for image, _ in row)
        if number == len(rows) - 1:
            factor = min(factor, 1.0)
        height = round(_TILE_HEIGHT * factor)
        fitted.append(
            [
                (image.resize((max(1, int(image.width * factor)), height)), caption)
                for image, caption in row
            ]
        )
    return fitted


def _row_width(row: Sequence[tuple[Image.Image, str]]) -> int:
    return sum(image.width + _GAP for image, _ in row) + _GAP


def _distinct(count: int) -> list[tuple[int, int, int]]:
    """Return bright colours around the wheel, without the red of missed objects."""
    hues = (0.11 + 0.8 * ((k * 0.618) % 1.0) for k in range(count))
    return [
        (int(255 * r), int(255 * g), int(255 * b))
        for r, g, b in (colorsys.hsv_to_rgb(hue, 0.85, 1.0) for hue in hues)
    ]


def _shape_of(
    source: Objects | Candidates,
    index: int,
    kind: str,
    image_shape: tuple[int, ...],
    size: tuple[int, int],
) -> Pixels:
    """Return a mask or filled box at the size of the tile, 0 or 1."""
    if kind == "segm" and source.rles is not None:
        mask = coco_mask.decode(source.rles[index])
        scaled = cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA)
        inside: Pixels = (scaled >= 128).astype(np.uint8)
        return inside
    ratio = np.array([size[0] / image_shape[1], size[1] / image_shape[0]] * 2)
    x, y, w, h = (source.boxes[index] * ratio).round().astype(int).tolist()
    shape = np.zeros((size[1], size[0]), np.uint8)
    shape[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)] = 1
    return shape


def _paint(tile: npt.NDArray[np.float32], mask: Pixels, colour: tuple[int, int, int]) -> None:
    inside = mask.astype(bool)
    tile[inside] = 0.5 * tile[inside] + 0.5 * np.array(colour, np.float32)
    _outline(tile, mask, colour, 1)


def _outline(
    tile: npt.NDArray[np.float32], mask: Pixels, colour: tuple[int, int, int], thickness: int = 2
) -> None:
    if mask.sum() < _TINY:
        thickness = 1  # a thicker line would hide the object
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, colour, thickness, cv2.LINE_AA)
