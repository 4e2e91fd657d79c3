"""PASCAL VOC: boxes as in the paper's table 2 (DeepMask §4), or the masks of its segmentation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray
from PIL import Image as Pillow

from deepmask.coco.annotations import LabelledSet, Problem
from deepmask.coco.entries import Content, is_file, labelled_set
from deepmask.coco.errors import LabelError
from deepmask.coco.values import FAULT, LARGEST_SIDE, SOURCE, Box, brief, number, truth
from deepmask.runtime.io.images import MAX_PIXELS, SUFFIXES

TEST_LIST = Path("ImageSets", "Main", "test.txt")
ANNOTATIONS = "Annotations"
IMAGES = "JPEGImages"
MASKS = "SegmentationObject"

_LARGEST_XML = 1 << 20
_NAME = re.compile(r"[^/\\\0]+")
_MARKED = re.compile(r"(.*\S)\s+-?[01]")  # lists of one category have -1, 0 or 1 behind
_BORDER = 255  # the value of pixels that are no object's


def read_voc(
    folder: Path,
    names: Path | None = None,
    images: Path | None = None,
    as_stored: bool | None = None,
) -> LabelledSet:
    """Read the images that a list in a VOC folder names, ImageSets/Main/test.txt by default.

    The objects of Annotations/NAME.xml have boxes; those of a list in ImageSets/Segmentation have
    masks, of SegmentationObject/NAME.png. Those marked difficult are crowds. The id of an image is
    the number in its name (000001 is 1), or its line in the list where a name is no number; its
    path is relative to `IMAGES`, or in the folder `images`. Raises `LabelError` for a list that
    cannot be read, and where no image is left; other faults are listed as problems.
    """
    listed = folder / TEST_LIST if names is None else names
    digest = hashlib.sha256()
    with_masks = listed.parent.name == "Segmentation"
    pictures: list[Any] = []
    objects: list[Any] = []
    problems: list[Problem] = []
    for line, name in enumerate(_names(listed, folder), 1):
        image_id = int(name) if name.isdecimal() and len(name) < 19 else line
        try:
            if not _NAME.fullmatch(name) or name in (".", ".."):
                raise LabelError(f"{listed}: {name!r:.60} is not an image name")
            path = folder / ANNOTATIONS / f"{name}.xml"
            root = _parse(path, digest)
            size = _size(path, root)
            mask = _object_mask(folder / MASKS / f"{name}.png", size) if with_masks else None
        except LabelError as error:
            problems.append(Problem("file", None, None, str(error)))
            continue
        source = f"{ANNOTATIONS}/{name}.xml"
        pictures.append(
            {
                SOURCE: source,
                "id": image_id,
                "file_name": _picture_name(name, folder / IMAGES if images is None else images),
                "width": size[0],
                "height": size[1],
            }
        )
        entries = list(_objects(root, image_id, source, len(objects), problems))
        if mask is not None:
            _outline(entries, mask)
        objects += entries
    found = Content(pictures, objects, folder.name, digest.hexdigest(), {}, problems)
    return labelled_set(found, folder, images, as_stored)


def _names(path: Path, folder: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        raise LabelError(
            f"{path}: cannot be read: --voc needs a VOC 2007 folder with {TEST_LIST}, "
            f"{ANNOTATIONS}/*.xml and {IMAGES}/*.jpg"
        ) from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise LabelError(f"{path}: lists no images")
    return [_without_mark(name, folder) for name in names]


def _without_mark(line: str, folder: Path) -> str:
    found = _MARKED.fullmatch(line)
    if found is None or is_file(folder / ANNOTATIONS / f"{line}.xml"):
        return line
    return found[1]


def _picture_name(name: str, images: Path) -> str:
    """Return a file's name: VOC's own pictures are JPEGs, other tools keep what they were given."""
    found = (f"{name}{suffix}" for suffix in SUFFIXES if is_file(images / f"{name}{suffix}"))
    return next(found, f"{name}.jpg")


def _parse(path: Path, digest: hashlib._Hash) -> ElementTree.Element:
    try:
        if path.stat().st_size > _LARGEST_XML:
            raise LabelError(f"{path}: is over {_LARGEST_XML >> 20} MiB, which no VOC file is")
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror or error}") from None
    digest.update(content)
    try:
        text = content.decode("utf-8-sig")
        # Entities make a small file expand without bound; VOC files declare none.
        if "<!" in text.replace("<!--", ""):
            raise LabelError(f"{path}: declares entities or a document type, which is refused")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise LabelError(f"{path}: is not valid XML: {error}") from None


def _size(path: Path, root: ElementTree.Element) -> tuple[int, int]:
    sides = []
    for side in ("width", "height"):
        text = (root.findtext(f"size/{side}") or "").strip()
        if not (text.isdecimal() and len(text) < 9 and 0 < int(text) <= LARGEST_SIDE):
            raise LabelError(f"{path}: size/{side} is {text!r:.30}, not a number of pixels")
        sides.append(int(text))
    if sides[0] * sides[1] > MAX_PIXELS:
        raise LabelError(f"{path}: {sides[0]} x {sides[1]} are more pixels than are read")
    return sides[0], sides[1]


def _objects(
    root: ElementTree.Element, image_id: int, source: str, first: int, problems: list[Problem]
) -> Iterator[dict[Any, Any]]:
    for count, entry in enumerate(root.iter("object"), 1):
        where = f"{source}, object {count}"
        given = entry.findtext("difficult")
        difficult = truth(given)
        if difficult is None:
            text = f"difficult is {brief(given)}, neither 0 nor 1: taken for 0"
            problems.append(Problem("crowd", None, image_id, text, "note", where))
        box = _box(entry)
        yield {
            SOURCE: where,
            "id": first + count,
            "image_id": image_id,
            "category_id": 1,
            "iscrowd": bool(difficult),
            **({FAULT: box} if isinstance(box, str) else {"bbox": list(box)}),
        }


_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _box(entry: ElementTree.Element) -> Box | str:
    """Return the box, or what is wrong with it.

    VOC's corners are pixels counted from 1, both inside the box; ours is x, y, width, height.
    """
    corners = []
    for corner in _CORNERS:
        text = (entry.findtext(f"bndbox/{corner}") or "").strip()
        value = number(text)
        if value is None or abs(value) > LARGEST_SIDE:
            return f"bndbox/{corner} is {text!r:.30}, not a pixel"
        corners.append(value)
    left, top, right, bottom = corners
    if right < left or bottom < top:
        return f"a bndbox ends before it begins: {left}, {top}, {right}, {bottom}"
    return (left - 1, top - 1, right - left + 1, bottom - top + 1)


def _object_mask(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        with Pillow.open(path, formats=["PNG"]) as image:
            if image.size != size or image.mode not in ("P", "L", "RGB"):
                raise LabelError(
                    f"{path}: is {image.width}×{image.height} of kind {image.mode}, not a palette "
                    f"image of {size[0]}×{size[1]} like its picture"
                )
            pixels = np.array(image)
    except LabelError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers fail in many ways
        raise LabelError(f"{path}: cannot be read: {error}") from None
    if pixels.ndim == 2:
        return pixels
    numbers = _numbers_of_colours(pixels)
    if numbers is None:
        raise LabelError(f"{path}: is of kind RGB, of colours that are not VOC's")
    return numbers


def _numbers_of_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the number of each pixel's colour in VOC's palette, None for other colours."""
    number_of = {_colour(value): value for value in range(256)}
    red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
    colours, places = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    if not all(int(colour) in number_of for colour in colours):
        return None
    numbers = np.array([number_of[int(colour)] for colour in colours], np.uint8)
    return numbers[places].reshape(pixels.shape[:2])


def _colour(value: int) -> int:
    """Return a colour of VOC's palette as 0xRRGGBB: bits 0, 1, 2 of a number are high in each."""
    found = 0
    for step in range(3):
        bits = value >> 3 * step
        for channel in range(3):
            found |= (bits >> channel & 1) << (8 * (2 - channel) + 7 - step)
    return found


def _outline(entries: list[dict[Any, Any]], mask: NDArray[np.uint8]) -> None:
    """Give each object the mask of its number: they are numbered in the order of the file."""
    for value, entry in enumerate(entries, 1):
        if value < _BORDER and (mask == value).any():
            rle = coco_mask.encode(np.asfortranarray(mask == value, np.uint8))
            entry["segmentation"] = {"size": list(mask.shape), "counts": rle["counts"]}
