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
from deepmask.coco.values import Box, brief, leaves_folder, number, size_fault, whole, xywh

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
        digest = hashlib.sha256(content).hexdigest()
        text = content.decode("utf-8-sig")
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
    if not isinstance(parsed, dict):
        raise LabelError(
            f'{path}: not a COCO instances file: it must hold an object with "images" and '
            '"annotations" (a list alone is a file of results)'
        )
    for key in ("images", "annotations"):
        if not isinstance(parsed.get(key), list):
            raise LabelError(f'{path}: not a COCO instances file: has no "{key}" list')
    return digest, parsed


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
) -> dict[int, Image]:
    found: dict[int, Image] = {}
    for entry in entries:
        image = _image(entry, folder)
        if isinstance(image, Image) and image.id in found:
            image = Problem("image", None, image.id, "this image id was used before")
        if isinstance(image, Problem):
            problems.append(image)
        else:
            found[image.id] = image
    return found


def _image(entry: Any, folder: Path | None) -> Image | Problem:
    if not isinstance(entry, dict):
        return Problem("image", None, None, f"an image is {brief(entry)}, not an object")
    image_id, name = whole(entry.get("id")), entry.get("file_name")
    if image_id is None:
        text = f"an image's id is {brief(entry.get('id'))}, not a whole number"
        return Problem("image", None, None, text)
    width, height = whole(entry.get("width")), whole(entry.get("height"))
    fault = size_fault(width, height)
    if not isinstance(name, str) or not name:
        text = f"file_name is {brief(name)}, not a name"
    elif leaves_folder(name):
        text = f"file_name {name[:200]!r} leaves the image folder"
    elif fault or width is None or height is None:
        given = f"{brief(entry.get('width'))} and {brief(entry.get('height'))}"
        text = f"width and height {fault}, not {given}"
    else:
        image = Image(image_id, Path(name) if folder is None else folder / name, width, height)
        if folder is None or _is_file(image.path):
            return image
        return Problem("file", None, image_id, f"no file {str(image.path)!r:.300}")
    return Problem("image", None, image_id, text)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or not of characters a file name can have
        return False


def _annotations(
    entries: Sequence[Any], images: Mapping[int, Image], problems: list[Problem]
) -> Iterator[Annotation]:
    seen: set[int] = set()
    for entry in entries:
        if not isinstance(entry, dict):
            text = f"an annotation is {brief(entry)}, not an object"
            problems.append(Problem("id", None, None, text))
            continue
        annotation, kind, text = _annotation(entry, images, seen)
        if kind is not None:
            ids = _scalar(entry.get("id")), _scalar(entry.get("image_id"))
            problems.append(Problem(kind, *ids, text))
        if annotation is not None:
            if kind is None:
                seen.add(annotation.id)
            yield annotation


def _scalar(value: Any) -> object:
    return value if isinstance(value, int | float | str) or value is None else brief(value)


def _annotation(
    entry: Mapping[str, Any], images: Mapping[int, Image], seen: set[int]
) -> tuple[Annotation | None, Kind | None, str]:
    """What can be kept of an entry, and the first thing wrong with it."""
    identity, image_id = whole(entry.get("id")), whole(entry.get("image_id"))
    image = None if image_id is None else images.get(image_id)
    if identity is None:
        return None, "id", f"an annotation's id is {brief(entry.get('id'))}, not a whole number"
    if image is None:
        return None, "image", "its image is not in the file, or was left out"
    crowd = bool(entry.get("iscrowd"))
    segmentation, given = entry.get("segmentation"), entry.get("bbox")
    outline = _outline_fault(segmentation, image)
    box = xywh(given)
    if not given and not outline:
        box = tight_box(segmentation, image.height, image.width)
    if box is None:
        text = f"bbox must be four finite numbers x, y, width, height, not {brief(given)}"
        if not given and segmentation:
            text = f"it has no bbox, and its segmentation {outline}"
        return None, "crowd" if crowd else "box", text
    faults: list[tuple[Kind, str]] = []
    annotated = entry.get("area", box[2] * box[3])
    area = number(annotated)
    if area is None or not 0 <= area < _LARGEST_AREA:
        faults.append(("area", f"area is {brief(annotated)}, not a number of square pixels"))
        area = box[2] * box[3]
    category = whole(entry["category_id"]) if entry.get("category_id") is not None else 1
    if category is None:
        faults.append(("category", f"category_id is {brief(entry['category_id'])}, not an id"))
        category = 1
    if place := _place_fault(box, image):
        faults.append(("empty", f"bbox {brief(given or list(box))} {place}"))
    if outline:
        faults.append(("outline", f"segmentation {outline}"))
    if identity in seen:
        faults.append(("repeated", "this annotation id was used before"))
    kind, text = faults[0] if faults else (None, "")
    if crowd and kind is not None:
        kind = "crowd"
    return Annotation(identity, image, category, crowd, area, box, segmentation, kind), kind, text


def _outline_fault(segmentation: Any, image: Image) -> str:
    """What is wrong with a segmentation, to follow that word."""
    if segmentation is None:
        return "is missing"
    try:
        check(segmentation, image.height, image.width)
    except ValueError as error:
        return str(error)
    return ""


def _place_fault(box: Box, image: Image) -> str:
    x, y, width, height = box
    if width == 0 or height == 0:
        return "is empty"
    if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
        return f"lies outside its {image.width}×{image.height} image"
    return ""
