"""Entries of a labelled set, of whatever format: what can be used is kept, every fault is named.

Readers of other formats give their entries as COCO's, so that the same holds for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmask.coco.annotations import (
    Annotation,
    Ignored,
    Image,
    LabelledSet,
    Problem,
    some_problems,
)
from deepmask.coco.errors import LabelError
from deepmask.coco.objects import read_annotation
from deepmask.coco.values import LARGEST_SIDE, SOURCE, brief, leaves_folder, whole
from deepmask.runtime.io.images import MAX_PIXELS


@dataclass(frozen=True)
class Content:
    """What a file or folder of labels holds, as entries of COCO's form that nobody has checked."""

    images: Sequence[Any]
    annotations: Sequence[Any]
    name: str
    digest: str
    categories: Mapping[int, str] = field(default_factory=dict)
    problems: Sequence[Problem] = ()


def labelled_set(
    content: Content, where: Path, images: Path | None = None, as_stored: bool | None = None
) -> LabelledSet:
    """Return the set of these entries, whose pictures lie in the folder `images`.

    Images whose file is not there are left out; without a folder nothing is said of files. Raises
    `LabelError`, which names `where`, if no image is left.
    """
    lost = [*content.problems]
    found = _images(content.images, images, as_stored, lost)
    problems = list(lost)
    if not found:
        of = f" of {len(content.images)}" if len(content.images) > 1 else ""
        why = some_problems(problems) or 'its "images" list is empty'
        raise LabelError(f"{where}: no usable image{of}: {why}")
    instances, ignored = _instances(content.annotations, found, problems)
    kept = tuple(found.values())
    return LabelledSet(
        kept,
        instances,
        tuple(problems),
        content.categories,
        content.name,
        content.digest,
        ignored,
        tuple(problem for problem in lost if problem.kind in ("image", "file", "repeated")),
    )


def _images(
    entries: Sequence[Any], folder: Path | None, as_stored: bool | None, problems: list[Problem]
) -> dict[int | None, Image]:
    found: dict[int | None, Image] = {}
    twice: dict[int, int] = {}
    for entry in entries:
        image = _image(entry, folder, as_stored)
        if isinstance(image, Problem):
            problems.append(image)
        elif found.setdefault(image.id, image) != image:
            twice[image.id] = twice.get(image.id, 1) + 1
        elif found[image.id] is not image:
            text = "this image id was used before, for the same picture"
            problems.append(Problem("repeated", None, image.id, text, "note"))
    for identity, times in twice.items():
        del found[identity]
        text = "this image id was used before, for another picture: which is labelled is not known"
        problems += [Problem("image", None, identity, text)] * times
    return found


def _image(entry: Any, folder: Path | None, as_stored: bool | None) -> Image | Problem:
    image_id = whole(entry.get("id")) if isinstance(entry, dict) else None
    if image_id is None:
        text = f"an image without a whole number as its id: {brief(entry)}"
        return Problem("image", None, None, text)
    source = entry.get(SOURCE, "")
    name, given = _file_name(entry, folder), (entry.get("width"), entry.get("height"))
    width, height = (whole(side) or 0 for side in given)
    if not isinstance(name, str) or not name or leaves_folder(name):
        text = f"file_name {brief(name)} is no name, or leaves the image folder"
        return Problem("image", None, image_id, text, source=source)
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        sides = f"from 1 to {LARGEST_SIDE} pixels, not {brief(given[0])} and {brief(given[1])}"
        text = f"{name:.100}: width and height must be whole numbers {sides}"
        return Problem("image", None, image_id, text, source=source)
    if width * height > MAX_PIXELS:
        text = f"{width} x {height} are more than the {MAX_PIXELS / 1e6:g} megapixels that are read"
        return Problem("image", None, image_id, text, source=source)
    # Windows writes \ between folders, which elsewhere is part of a name: here it always parts.
    relative = Path(name.replace("\\", "/"))
    path = relative if folder is None else folder / relative
    if folder is not None and not is_file(path):
        text = f"no file {str(path)!r:.300}"
        return Problem("file", None, image_id, text, source=source)
    return Image(image_id, path, width, height, as_stored)


def _file_name(entry: Mapping[str, Any], folder: Path | None) -> Any:
    """Return an image's file name; LVIS has none, but where COCO's server has the picture."""
    name, url = entry.get("file_name"), entry.get("coco_url")
    if name is not None or not isinstance(url, str):
        return name
    above, _, last = url.rpartition("/")
    inside = f"{above.rpartition('/')[2]}/{last}"  # train2017 or val2017: LVIS mixes both
    return inside if folder is not None and is_file(folder / inside) else last


def is_file(path: Path) -> bool:
    """Return whether a path of a labelled set is a file's; also for one that no path can be."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or not of characters a file name can have
        return False


def _instances(
    entries: Sequence[Any], images: Mapping[int | None, Image], problems: list[Problem]
) -> tuple[tuple[Annotation, ...], tuple[Ignored, ...]]:
    """Return what can be used, and what is left out.

    A set of boxes has no outlines at all; where only some objects have one, the others are left
    out.
    """
    instances: list[Annotation] = []
    boxes: list[tuple[int, Annotation, str]] = []
    ignored: list[Ignored] = []
    seen: set[int] = set()
    for entry in entries:
        source = entry.get(SOURCE, "") if isinstance(entry, dict) else ""
        item, found = read_annotation(entry, images, seen)
        problems += found
        if isinstance(item, Ignored):
            ignored.append(item)
        elif item.segmentation is None and not item.crowd:
            boxes.append((len(instances), item, source))
        else:
            instances.append(item)
    if not any(not item.crowd for item in instances):
        for place, item, _ in reversed(boxes):
            instances.insert(place, item)
        return tuple(instances), tuple(ignored)
    for _, item, source in boxes:
        ignored.append(Ignored(item.id, item.image, (item.box,), "outline"))
        text = "has a box but no outline, which other objects have"
        problems.append(Problem("outline", item.id, item.image.id, text, source=source))
    return tuple(instances), tuple(ignored)
