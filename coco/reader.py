"""COCO's instances files: every entry that can be understood is kept, every fault is named."""

from __future__ import annotations

import hashlib
import json
from array import array
from pathlib import Path
from typing import Any

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.entries import Content, labelled_set
from deepmask.coco.errors import LabelError
from deepmask.coco.values import whole

#: Larger files, in bytes, are not taken into memory: COCO's own have half a gigabyte.
LARGEST_FILE = 4 << 30

_ANNOTATION_KEYS = (
    *("id", "image_id", "category_id", "area", "bbox", "iscrowd", "ignore", "segmentation"),
)


def read_coco(
    annotations: Path, images: Path | None = None, as_stored: bool | None = None
) -> LabelledSet:
    """Read an instances file, of any categories, whose pictures lie in the folder `images`.

    Images whose file is not there are left out; without a folder nothing is said of files. Raises
    `LabelError` for what is no such file, or has no usable image; what is wrong with single entries
    is listed as problems.
    """
    digest, content = _parse(annotations)
    names = _category_names(content.get("categories"))
    found = Content(content["images"], content["annotations"], annotations.name, digest, names)
    return labelled_set(found, annotations, images, as_stored)


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
