"""Folders of labelme's JSON: one file a picture, a list of shapes in each."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path, PureWindowsPath
from typing import Any

from deepmask.coco.annotations import LabelledSet, Problem
from deepmask.coco.entries import Content, labelled_set
from deepmask.coco.errors import LabelError
from deepmask.coco.labelme_mask import decode_mask, join_masks
from deepmask.coco.segmentation import Rle
from deepmask.coco.values import FAULT, SOURCE, brief, is_hidden, number

#: Files hold their picture as text, too.
_LARGEST = 1 << 28
_CIRCLE_CORNERS = 64
#: Shapes of these labels are regions to be spared, as labelme's own converters take them.
_IGNORED = ("__ignore__", "_ignore_", "ignore")
_NOTHING = ("_background_", "__background__")


def is_labelme(folder: Path) -> bool:
    """Return whether a folder has JSON files, of labelme's form if there are text files as well."""
    files = _files(folder)
    if next(folder.rglob("*.txt"), None) is None:
        return bool(files)
    return any(_has_shapes(path) for path in files)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not is_hidden(path, folder))


def _has_shapes(path: Path) -> bool:
    try:
        return path.stat().st_size <= _LARGEST and b'"shapes"' in path.read_bytes()
    except OSError:
        return False


def read_labelme(
    folder: Path, images: Path | None = None, as_stored: bool | None = None
) -> LabelledSet:
    """Read every JSON file of a folder, in the order of their names.

    Polygons, rectangles, circles and masks are objects; those of one label and group_id are one.
    Difficult ones are crowds. Images are numbered from 1. Raises `LabelError` where no image is
    left.
    """
    digest = hashlib.sha256()
    pictures: list[Any] = []
    objects: list[Any] = []
    problems: list[Problem] = []
    labels: dict[str, int] = {}
    for number_, path in enumerate(_files(folder), 1):
        try:
            content = _parse(path, digest)
        except LabelError as error:
            problems.append(Problem("file", None, None, str(error)))
            continue
        name = _picture_name(content.get("imagePath"), images)
        pictures.append(
            {
                SOURCE: path.name,
                "id": number_,
                "file_name": name,
                "width": content.get("imageWidth"),
                "height": content.get("imageHeight"),
            }
        )
        for entry in _objects(content, labels):
            source = f"{path.name}, {entry[SOURCE]}"
            objects.append({**entry, SOURCE: source, "image_id": number_, "id": len(objects) + 1})
    categories = {identity: label for label, identity in labels.items()}
    found = Content(pictures, objects, folder.name, digest.hexdigest(), categories, problems)
    return labelled_set(found, folder, images, as_stored)


def _parse(path: Path, digest: hashlib._Hash) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise LabelError(f"{path}: is over {_LARGEST >> 20} MiB, too large for labelme")
        content = path.read_bytes()
        digest.update(content)
        found = json.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise LabelError(f"{path}: is nested too deeply for labelme") from None
    except ValueError as error:
        raise LabelError(f"{path}: is not valid JSON: {error}") from None
    if isinstance(found, dict) and isinstance(found.get("shapes"), list):
        return found
    raise LabelError(f'{path}: is no file of labelme: it has no list "shapes"')


def _picture_name(given: Any, images: Path | None) -> Any:
    """Return where the picture is in the folder: only its name counts for one that is beside it."""
    if not isinstance(given, str) or not given:
        return given
    path = PureWindowsPath(given)  # which parts at / and at \
    inside = not path.anchor and ".." not in path.parts
    if inside and (images is None or (images / path.as_posix()).is_file()):
        return path.as_posix()
    return path.name


def _objects(content: dict[str, Any], labels: dict[str, int]) -> list[dict[Any, Any]]:
    """Return an entry for each object, its parts joined; `labels` learns the names."""
    objects: list[dict[Any, Any]] = []
    groups: dict[tuple[str, bool, Any], dict[Any, Any]] = {}
    for index, shape in enumerate(content["shapes"], 1):
        if not isinstance(shape, dict):
            objects.append({SOURCE: f"shape {index}", FAULT: f"is no shape: {brief(shape)}"})
            continue
        given = shape.get("label")
        label = given if isinstance(given, str) else ""
        if label in _NOTHING:
            continue
        region = _region(shape, content)
        if isinstance(region, str):
            objects.append({SOURCE: f"shape {index}", FAULT: region})
            continue
        group = shape.get("group_id")
        key = (label, isinstance(region, dict), group if isinstance(group, int | str) else None)
        if key[-1] is not None and key in groups:
            known = groups[key]["segmentation"]
            if isinstance(region, dict):
                groups[key]["segmentation"] = join_masks(known, region)
            else:
                known += region
            continue
        entry = {
            SOURCE: f"shape {index}",
            "category_id": labels.setdefault(label, len(labels) + 1),
            "iscrowd": label in _IGNORED,
            "ignore": shape.get("difficult"),
            "segmentation": region,
        }
        objects.append(entry)
        if key[-1] is not None:
            groups[key] = entry
    return objects


def _region(shape: dict[Any, Any], content: dict[str, Any]) -> list[Any] | Rle | str:
    """Return a shape as polygons or RLE, or what is wrong with it."""
    if shape.get("shape_type") == "mask":
        corners = _points(shape.get("points"))
        size = content.get("imageWidth"), content.get("imageHeight")
        return decode_mask(shape.get("mask"), corners or [], *size)
    polygon = _polygon(shape)
    return polygon if isinstance(polygon, str) else [polygon]


def _polygon(shape: dict[Any, Any]) -> list[float] | str:
    """Return the corners as x, y, x, y, …, or what is wrong with them."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    corners = _points(points)
    if corners is None:
        return f"its points are {brief(points)}, not a list of x, y"
    if kind == "rectangle" and len(corners) == 2:
        (left, top), (right, bottom) = corners
        return [left, top, right, top, right, bottom, left, bottom]
    if kind == "circle" and len(corners) == 2:
        (x, y), edge = corners
        radius = math.dist((x, y), edge)
        steps = [2 * math.pi * k / _CIRCLE_CORNERS for k in range(_CIRCLE_CORNERS)]
        return [v for a in steps for v in (x + radius * math.cos(a), y + radius * math.sin(a))]
    if kind in ("polygon", "rectangle", "oriented_rectangle", "rotation"):
        return [value for corner in corners for value in corner]
    return f"{brief(kind)} of {len(corners)} points has no area"


def _points(given: Any) -> list[tuple[float, float]] | None:
    if not isinstance(given, list) or not all(isinstance(p, list) and len(p) == 2 for p in given):
        return None
    corners = [(number(x), number(y)) for x, y in given]
    found = [(x, y) for x, y in corners if x is not None and y is not None]
    return found if len(found) == len(corners) else None
