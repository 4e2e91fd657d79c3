"""COCO's instances files: every entry that can be understood is kept, every fault is named."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmask.coco.annotations import Annotation, Image, Kind, LabelledSet, Problem
from deepmask.coco.errors import LabelError
from deepmask.coco.segmentation import check, tight_box
from deepmask.coco.values import LARGEST_SIDE, Box, brief, leaves_folder, number, whole, xywh
from deepmask.runtime.io.images import MAX_PIXELS

#: Larger files, in bytes, are not taken into memory: COCO's own have half a gigabyte.
LARGEST_FILE = 4 << 30

_LARGEST_AREA = 1e15
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "area", "bbox", "iscrowd", "segmentation")


def read_coco(annotations: Path, images: Path | None = None) -> LabelledSet:
    """Read an instances file, of any categories, whose pictures lie in the folder `images`.

    Images whose file is not there are left out; without a folder nothing is said of files. Raises
    `LabelError` for what is no such file, or has no usable image; what is wrong with single entries
    is listed as problems.
    """
    digest, content = _parse(annotations)
    problems: list[Problem] = []
    found = _images(content["images"], images, problems)
    if not found:
        why = problems[0] if problems else 'its "images" list is empty'
        raise LabelError(f"{annotations}: no usable image: {why}")
    kept = tuple(_annotations(content["annotations"], found, problems))
    names = _category_names(content.get("categories"))
    return LabelledSet(
        tuple(found.values()), kept, tuple(problems), names, annotations.name, digest
    )


def _parse(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise LabelError(f"{path}: is over {LARGEST_FILE >> 30} GiB, too large to be read")
        content = path.read_bytes()
        digest, text = hashlib.sha256(content).hexdigest(), content.decode("utf-8-sig")
        del content  # a file of half a gigabyte must not lie in memory twice
        parsed = json.loads(text, object_hook=_lean)
    except FileNotFoundError:
        raise LabelError(f"{path}: no such annotation file") from None
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise LabelError(f"{path}: is nested too deeply for a COCO file") from None
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise LabelError(f"{path}: is not valid JSON: {error}") from None
    if isinstance(parsed, dict) and all(
        isinstance(parsed.get(key), list) for key in ("images", "annotations")
    ):
        return digest, parsed
    raise LabelError(
        f'{path}: not a COCO instances file, an object with lists "images" and "annotations" '
        "(a list alone is a file of results)"
    )


def _lean(entry: dict[str, Any]) -> dict[str, Any]:
    """Shrink an annotation as soon as it is parsed: lists of floats cost five times the file."""
    if "image_id" in entry:
        entry = {key: entry[key] for key in _ANNOTATION_KEYS if key in entry}
        if isinstance(entry.get("segmentation"), list):
            entry["segmentation"] = [_packed("d", part) for part in entry["segmentation"]]
    elif "counts" in entry:
        entry["counts"] = _packed("q", entry["counts"])
    return entry


def _packed(code: str, values: Any) -> Any:
    """A list as an array; what does not fit stays as it is, to be refused by name later."""
    if not isinstance(values, list):
        return values
    try:
        return array(code, values)
    except (TypeError, OverflowError):
        return values


def _category_names(entries: Any) -> dict[int, str]:
    """Names by id; they are optional, so what is not a category is passed over."""
    return {
        identity: entry["name"]
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("name"), str)
        if (identity := whole(entry.get("id"))) is not None
    }


def _images(
    entries: Sequence[Any], folder: Path | None, problems: list[Problem]
) -> dict[int | None, Image]:
    found: dict[int | None, Image] = {}
    for entry in entries:
        image = _image(entry, folder)
        if isinstance(image, Problem):
            problems.append(image)
        elif image.id in found:
            problems.append(Problem("image", None, image.id, "this image id was used before"))
        else:
            found[image.id] = image
    return found


def _image(entry: Any, folder: Path | None) -> Image | Problem:
    image_id = whole(entry.get("id")) if isinstance(entry, dict) else None
    if image_id is None:
        text = f"an image without a whole number as its id: {brief(entry)}"
        return Problem("image", None, None, text)
    name, given = entry.get("file_name"), (entry.get("width"), entry.get("height"))
    width, height = (whole(side) or 0 for side in given)
    if not isinstance(name, str) or not name or leaves_folder(name):
        text = f"file_name {brief(name)} is no name, or leaves the image folder"
        return Problem("image", None, image_id, text)
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        sides = f"from 1 to {LARGEST_SIDE} pixels, not {brief(given[0])} and {brief(given[1])}"
        return Problem("image", None, image_id, f"width and height must be whole numbers {sides}")
    if width * height > MAX_PIXELS:
        text = f"{width} x {height} are more than the {MAX_PIXELS / 1e6:g} megapixels that are read"
        return Problem("image", None, image_id, text)
    path = Path(name) if folder is None else folder / name
    if folder is not None and not _is_file(path):
        return Problem("file", None, image_id, f"no file {str(path)!r:.300}")
    return Image(image_id, path, width, height)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or not of characters a file name can have
        return False


def _annotations(
    entries: Sequence[Any], images: Mapping[int | None, Image], problems: list[Problem]
) -> Iterator[Annotation]:
    seen: set[int] = set()
    for entry in entries:
        annotation, problem = _annotation(entry, images, seen)
        if problem is not None:
            problems.append(problem)
        elif annotation is not None:
            seen.add(annotation.id)
        if annotation is not None:
            yield annotation


def _annotation(
    entry: Any, images: Mapping[int | None, Image], seen: set[int]
) -> tuple[Annotation | None, Problem | None]:
    """Return what can be kept of an entry, and the first thing wrong with it."""
    identity = whole(entry.get("id")) if isinstance(entry, dict) else None
    if identity is None:
        text = f"an annotation without a whole number as its id: {brief(entry)}"
        return None, Problem("id", None, None, text)
    image_id = whole(entry.get("image_id"))
    image = images.get(image_id)
    if image is None:
        text = f"its image {brief(entry.get('image_id'))} is not in the file, or was left out"
        return None, Problem("image", identity, image_id, text)
    crowd, segmentation, given = (entry.get(key) for key in ("iscrowd", "segmentation", "bbox"))
    outline = _outline_fault(segmentation, image)
    box = xywh(given)
    if not given and not outline:
        box = tight_box(segmentation, image.height, image.width)
    if box is None:
        text = f"bbox must be four finite numbers x, y, width, height, not {brief(given)}"
        return None, Problem("crowd" if crowd else "box", identity, image.id, text)
    size = box[2] * box[3]
    area, named = number(entry.get("area", size)), entry.get("category_id")
    category = 1 if named is None else whole(named)
    kind: Kind | None = None
    if area is None or not 0 <= area < _LARGEST_AREA:
        kind, text = "area", f"area is {brief(entry.get('area', size))}, not square pixels"
        area = size
    elif category is None:
        kind, text = "category", f"category_id is {brief(named)}, not an id"
    elif not _overlap(box, image):
        where = f"is empty, or outside its {image.width}×{image.height} image"
        kind, text = "empty", f"bbox {brief(given or list(box))} {where}"
    elif outline:
        kind, text = "outline", f"segmentation {outline}"
    elif identity in seen:
        kind, text = "repeated", "this annotation id was used before"
    if crowd and kind is not None:
        kind = "crowd"
    category = 1 if category is None else category
    kept = Annotation(identity, image, category, bool(crowd), area, box, segmentation, kind)
    return kept, None if kind is None else Problem(kind, identity, image.id, text)


def _outline_fault(segmentation: Any, image: Image) -> str:
    try:
        check(segmentation, image.height, image.width)
    except ValueError as error:
        return str(error)
    return ""


def _overlap(box: Box, image: Image) -> bool:
    x, y, width, height = box
    return min(width, height) > 0 and -width < x < image.width and -height < y < image.height
