"""PASCAL VOC 2007's test set: boxes only, as in the paper's table 2 (DeepMask §4)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

from deepmask.coco.annotations import Annotation, Image, LabelledSet
from deepmask.coco.errors import LabelError
from deepmask.coco.values import LARGEST_SIDE, Box

TEST_LIST = Path("ImageSets", "Main", "test.txt")
ANNOTATIONS = "Annotations"
IMAGES = "JPEGImages"

_LARGEST_XML = 1 << 20
_NAME = re.compile(r"[\w-][\w.-]*")


def read_voc(folder: Path) -> LabelledSet:
    """Read the test images of a VOC folder: ImageSets/Main/test.txt and Annotations/NAME.xml.

    Objects marked difficult are left out. The id of an image is the number in its name (000001 is
    1), or its line in the list where a name is no number; its path is relative to `IMAGES`, and the
    ids of its objects count from 0. Raises `LabelError` for the first thing wrong.
    """
    names = _names(folder / TEST_LIST)
    digest = hashlib.sha256()
    images: dict[int, Image] = {}
    annotations: list[Annotation] = []
    for line, name in enumerate(names, 1):
        path = folder / ANNOTATIONS / f"{name}.xml"
        root = _parse(path, digest)
        image_id = int(name) if name.isdecimal() else line
        if image_id in images:
            raise LabelError(f"{folder / TEST_LIST}: {name} is listed twice, or twice by number")
        width, height = (_size(path, root, f"size/{side}") for side in ("width", "height"))
        image = images[image_id] = Image(image_id, Path(f"{name}.jpg"), width, height)
        boxes = [_box(path, entry) for entry in root.iter("object") if _counts(entry)]
        annotations += [
            Annotation(index, image, 1, False, box[2] * box[3], box, None)
            for index, box in enumerate(boxes)
        ]
    return LabelledSet(
        tuple(images.values()), tuple(annotations), name=folder.name, digest=digest.hexdigest()
    )


def _names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        raise LabelError(
            f"{path}: cannot be read: --voc needs a VOC 2007 folder with {TEST_LIST}, "
            f"{ANNOTATIONS}/*.xml and {IMAGES}/*.jpg"
        ) from None
    names = [line.split()[0] for line in lines if line.strip()]
    for name in names:
        if not _NAME.fullmatch(name):
            raise LabelError(f"{path}: {name!r:.60} is not an image name")
    if not names:
        raise LabelError(f"{path}: lists no images")
    return names


def _parse(path: Path, digest: hashlib._Hash) -> ElementTree.Element:
    try:
        if path.stat().st_size > _LARGEST_XML:
            raise LabelError(f"{path}: is over {_LARGEST_XML >> 20} MiB, which no VOC file is")
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror or error}") from None
    digest.update(content)
    try:
        text = content.decode("utf-8")
        # Entities make a small file expand without bound; VOC files declare none.
        if "<!" in text.replace("<!--", ""):
            raise LabelError(f"{path}: declares entities or a document type, which is refused")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise LabelError(f"{path}: is not valid XML: {error}") from None


def _counts(entry: ElementTree.Element) -> bool:
    return (entry.findtext("difficult") or "0").strip() == "0"


def _size(path: Path, root: ElementTree.Element, where: str) -> int:
    text = (root.findtext(where) or "").strip()
    if not (text.isdecimal() and len(text) < 9 and 0 < int(text) <= LARGEST_SIDE):
        raise LabelError(f"{path}: {where} is {text!r:.30}, not a number of pixels")
    return int(text)


def _box(path: Path, entry: ElementTree.Element) -> Box:
    """VOC's corners are pixels counted from 1, both inside the box; ours is x, y, width, height."""
    corners = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = (entry.findtext(f"bndbox/{corner}") or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) <= LARGEST_SIDE:
            raise LabelError(f"{path}: bndbox/{corner} is {text!r:.30}, not a pixel")
        corners.append(value)
    left, top, right, bottom = corners
    if right < left or bottom < top:
        raise LabelError(
            f"{path}: a bndbox ends before it begins: {left}, {top}, {right}, {bottom}"
        )
    return (left - 1, top - 1, right - left + 1, bottom - top + 1)
