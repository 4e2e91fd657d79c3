"""PASCAL VOC 2007 as ground truth: boxes only, as in the paper's table 2 (DeepMask §4)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

from deepmask.coco.annotations import LARGEST_SIDE, Annotation, GroundTruth, Picture
from deepmask.evaluate.errors import EvalError

TEST_LIST = Path("ImageSets", "Main", "test.txt")
ANNOTATIONS = "Annotations"
IMAGES = "JPEGImages"

_LARGEST_XML = 1 << 20
_NAME = re.compile(r"[\w-][\w.-]*")


def read_voc(folder: Path) -> GroundTruth:
    """Read the test images of a VOC folder: ImageSets/Main/test.txt and Annotations/NAME.xml.

    Objects marked difficult are left out. The id of an image is the number in its name (000001 is
    1), or its line in the list where a name is no number. Raises `EvalError`.
    """
    names = _names(folder / TEST_LIST)
    digest = hashlib.sha256()
    pictures: dict[int, Picture] = {}
    annotations: dict[int, list[Annotation]] = {}
    for line, name in enumerate(names, 1):
        path = folder / ANNOTATIONS / f"{name}.xml"
        root = _parse(path, digest)
        image_id = int(name) if name.isdecimal() else line
        if image_id in pictures:
            raise EvalError(f"{folder / TEST_LIST}: {name} is listed twice, or twice by number")
        width, height = (_size(path, root, f"size/{side}") for side in ("width", "height"))
        pictures[image_id] = Picture(image_id, f"{name}.jpg", width, height)
        boxes = [_box(path, entry) for entry in root.iter("object") if _counts(entry)]
        annotations[image_id] = [
            Annotation(index, 1, box[2] * box[3], box, None) for index, box in enumerate(boxes)
        ]
    return GroundTruth(folder.name, digest.hexdigest(), "voc", ("bbox",), pictures, annotations)


def _names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        raise EvalError(
            f"{path}: cannot be read: --voc needs a VOC 2007 folder with {TEST_LIST}, "
            f"{ANNOTATIONS}/*.xml and {IMAGES}/*.jpg"
        ) from None
    names = [line.split()[0] for line in lines if line.strip()]
    for name in names:
        if not _NAME.fullmatch(name):
            raise EvalError(f"{path}: {name!r:.60} is not an image name")
    if not names:
        raise EvalError(f"{path}: lists no images")
    return names


def _parse(path: Path, digest: hashlib._Hash) -> ElementTree.Element:
    try:
        if path.stat().st_size > _LARGEST_XML:
            raise EvalError(f"{path}: is over {_LARGEST_XML >> 20} MiB, which no VOC file is")
        content = path.read_bytes()
    except OSError as error:
        raise EvalError(f"{path}: cannot be read: {error.strerror or error}") from None
    digest.update(content)
    try:
        text = content.decode("utf-8")
        # Entities make a small file expand without bound; VOC files declare none.
        if "<!" in text.replace("<!--", ""):
            raise EvalError(f"{path}: declares entities or a document type, which is refused")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise EvalError(f"{path}: is not valid XML: {error}") from None


def _counts(entry: ElementTree.Element) -> bool:
    return (entry.findtext("difficult") or "0").strip() == "0"


def _size(path: Path, root: ElementTree.Element, where: str) -> int:
    text = (root.findtext(where) or "").strip()
    if not (text.isdecimal() and len(text) < 9 and 0 < int(text) <= LARGEST_SIDE):
        raise EvalError(f"{path}: {where} is {text!r:.30}, not a number of pixels")
    return int(text)


def _box(path: Path, entry: ElementTree.Element) -> tuple[float, float, float, float]:
    """VOC's corners are pixels counted from 1, both inside the box; ours is x, y, width, height."""
    corners = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = (entry.findtext(f"bndbox/{corner}") or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) <= LARGEST_SIDE:
            raise EvalError(f"{path}: bndbox/{corner} is {text!r:.30}, not a pixel")
        corners.append(value)
    left, top, right, bottom = corners
    if right < left or bottom < top:
        raise EvalError(f"{path}: a bndbox ends before it begins: {left}, {top}, {right}, {bottom}")
    return (left - 1, top - 1, right - left + 1, bottom - top + 1)
