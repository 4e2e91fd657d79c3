"""YOLO's text files: one a picture, an object a line, corners as fractions of the picture."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepmask.coco.annotations import LabelledSet, Problem
from deepmask.coco.entries import Content, labelled_set
from deepmask.coco.errors import LabelError
from deepmask.coco.values import FAULT, SOURCE, brief, is_hidden, number
from deepmask.runtime.io.images import SUFFIXES, ImageError, image_size

_LARGEST = 1 << 26
#: Beyond this a corner is no fraction; rounding puts some a little outside the picture.
_FARTHEST = 1.5
_KEYPOINTS = re.compile(r"^kpt_shape:\s*\[\s*([0-9]{1,4})\s*,\s*([23])\s*\]", re.MULTILINE)
_NAME = re.compile(r"\s*(?:-|(\d+)\s*:)\s*['\"]?(.*?)['\"]?\s*")


def is_yolo(path: Path) -> bool:
    """Return whether a path is a data.yaml, or a folder with text files."""
    if path.is_dir():
        return next(path.rglob("*.txt"), None) is not None
    return path.suffix.lower() in (".yaml", ".yml")


def read_yolo(path: Path, images: Path | None, as_stored: bool | None = None) -> LabelledSet:
    """Read the labels of every picture in the folder `images`; images are numbered from 1.

    path  a folder of text files, named as the pictures are, or the data.yaml of a set, whose labels
          lie beside its images: labels/train for images/train, else among them. A picture without
          a file has no object. Names of categories are data.yaml's.

    Lines are a category and corners (x, y, x, y, …), or a category and a box (centre and size); all
    are fractions of the picture as it is shown. Keypoints behind a box (`kpt_shape` of data.yaml)
    are passed over. Labels without a picture are listed as problems. Raises `LabelError` without a
    folder of images, as it takes their sizes.
    """
    if images is None:
        raise LabelError(f"{path}: YOLO's labels are fractions: give the folder of images")
    folder = path if path.is_dir() else _labels_beside(images)
    settings = path if path.is_file() else _settings_above(path)
    names, keypoints = ({}, 0) if settings is None else _settings(settings)
    digest = hashlib.sha256()
    pictures: list[Any] = []
    objects: list[Any] = []
    problems: list[Problem] = []
    named: set[Path] = set()
    used = 0
    for image_id, picture in enumerate(_pictures(images), 1):
        relative = picture.relative_to(images)
        file = (folder / relative).with_suffix(".txt")
        named.add(file)
        try:
            stored, shown = image_size(picture)
            lines = _lines(file, digest)
        except (LabelError, ImageError) as error:
            problems.append(Problem("file", None, None, str(error)))
            continue
        used += lines is not None
        width, height = stored if as_stored else shown
        entry = {"id": image_id, "file_name": relative.as_posix(), SOURCE: str(relative)}
        pictures.append({**entry, "width": width, "height": height})
        for number_, line in lines or ():
            found = _object(line, width, height, keypoints)
            source = f"{file.name}, line {number_}"
            objects.append({**found, SOURCE: source, "image_id": image_id, "id": len(objects) + 1})
    if pictures and not used:
        raise LabelError(f"{folder}: has no text file named as a picture in {images}")
    problems += _without_picture(folder, named, images)
    found_ = Content(pictures, objects, path.name, digest.hexdigest(), names, problems)
    return labelled_set(found_, path, images, bool(as_stored))


def _pictures(images: Path) -> list[Path]:
    every = (p for p in images.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    found = [path for path in every if not is_hidden(path, images)]
    if not found:
        raise LabelError(f"{images}: no images ({', '.join(SUFFIXES)})")
    return sorted(found)


def _labels_beside(images: Path) -> Path:
    parts = list(images.parts)
    for place in reversed(range(len(parts))):
        if parts[place] == "images":
            beside = Path(*parts[:place], "labels", *parts[place + 1 :])
            if beside.is_dir():
                return beside
    return images


def _settings_above(folder: Path) -> Path | None:
    """Find data.yaml (or the only other one) in a folder or in the two above it."""
    for place in (folder, *folder.resolve().parents[:2]):
        found = sorted(place.glob("data.y*ml")) or sorted(place.glob("*.y*ml"))
        if len(found) == 1:
            return found[0]
    return None


def _without_picture(folder: Path, named: set[Path], images: Path) -> Iterator[Problem]:
    """Yield a problem for every file of labels whose picture is missing, or of no known format."""
    for file in sorted(set(folder.rglob("*.txt")) - named):
        if is_hidden(file, folder):
            continue
        try:
            lines = _lines(file, hashlib.sha256()) or []
        except LabelError:
            continue
        if lines and all(_is_label(line) for _, line in lines):
            text = f"{file}: has labels, but {images} has no picture of this name that is read"
            yield Problem("file", None, None, text)


def _is_label(line: str) -> bool:
    return len(words := line.split()) >= 5 and all(number(word) is not None for word in words)


def _settings(path: Path) -> tuple[dict[int, str], int]:
    """Return the names of categories, and how many numbers of keypoints are behind each box."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise LabelError(f"{path}: cannot be read: {error}") from None
    shape = _KEYPOINTS.search(text)
    return _names(text.splitlines()), int(shape[1]) * int(shape[2]) if shape else 0


def _names(lines: Sequence[str]) -> dict[int, str]:
    """Return the names of categories in the two forms that YOLO's tools write; {} for others."""
    found: dict[int, str] = {}
    inside = False
    for line in lines:
        text = line.split("#")[0].rstrip()
        if text.startswith("names:"):
            inside = True
            inline = text.removeprefix("names:").strip()
            if inline.startswith("["):
                return dict(enumerate(n.strip(" '\"") for n in inline.strip("[]").split(",")))
        elif inside and (name := _NAME.fullmatch(text)):
            found[int(name[1]) if name[1] else len(found)] = name[2]
        elif inside and text:
            break
    return found


def _lines(path: Path, digest: hashlib._Hash) -> list[tuple[int, str]] | None:
    """Return the lines with text, each with its number; None without a file."""
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _LARGEST:
            raise LabelError(f"{path}: is over {_LARGEST >> 20} MiB, too large for one picture")
        content = path.read_bytes()
        digest.update(content)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise LabelError(f"{path}: is no text") from None
    return [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]


def _object(line: str, width: int, height: int, keypoints: int = 0) -> dict[Any, Any]:
    """Return a line as an entry; what cannot be read as it is, to be refused by name."""
    category, *rest = line.split()
    if keypoints and len(rest) == 4 + keypoints:
        rest = rest[:4]
    values = [number(word) for word in rest]
    found = [value for value in values if value is not None]
    named = number(category)
    entry: dict[Any, Any] = {"category_id": category if named is None else named}
    if len(found) < len(values) or not found:
        return {**entry, FAULT: f"a line that is no category and numbers: {brief(line)}"}
    if max(map(abs, found)) > _FARTHEST:
        return {**entry, FAULT: f"corners that are no fractions of the picture: {brief(line)}"}
    if len(found) == 4:
        x, y, w, h = found
        return {**entry, "bbox": [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]}
    corners = [v * (height if k % 2 else width) for k, v in enumerate(found)]
    return {**entry, "segmentation": [corners]}
