"""Segmentations of COCO files, in each of their three forms, as RLE that can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from rlemasklib import RLEMask

#: pycocotools walks a polygon pixel by pixel: a corner this far away is a mistake, and a slow one.
FARTHEST_CORNER = 1e5
#: Nor would it come back from going round and round: most pixels around one object, and polygons.
LONGEST_OUTLINE = 5e5
MOST_POLYGONS = 2000

Rle = dict[str, Any]


def to_rle(segmentation: Any, height: int, width: int) -> Rle:
    """A segmentation as `{"size": [height, width], "counts": bytes}`.

    Accepts polygons (a list of flat x, y lists), uncompressed RLE (counts a list) and compressed
    RLE (counts str or bytes). Raises ValueError, with a text that completes "segmentation …", for
    anything else, for runs that do not add up to height·width (pycocotools would not return from
    comparing those) and for sizes other than the image's.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width)
    if isinstance(segmentation, list) and segmentation:
        return _from_polygons(segmentation, height, width)
    raise ValueError("is neither a list of polygons nor an RLE")


def _from_runs(segmentation: dict[str, Any], height: int, width: int) -> Rle:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or size != [height, width]:
        raise ValueError(f"has size {_short(size)}, the image has [{height}, {width}]")
    if isinstance(counts, str):
        counts = counts.encode("ascii", errors="replace")
    if isinstance(counts, bytes):
        rle = {"size": [height, width], "counts": counts}
        try:
            RLEMask.from_dict(rle)
        except ValueError:
            raise ValueError("is not a COCO RLE of that size") from None
        return rle
    if not isinstance(counts, Sequence) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("has counts that are neither text nor whole numbers")
    if sum(counts) != height * width:
        raise ValueError(f"has runs adding up to {sum(counts)}, not {height} x {width}")
    plain = {"size": [height, width], "counts": list(counts)}
    encoded: Rle = coco_mask.frPyObjects(plain, height, width)
    return encoded


def _from_polygons(polygons: list[Any], height: int, width: int) -> Rle:
    corners = []
    for polygon in polygons:
        if not isinstance(polygon, Sequence) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("has a polygon that is not a list of three or more x, y pairs")
        values = list(polygon)
        if not all(type(v) in (int, float) and abs(v) <= FARTHEST_CORNER for v in values):
            raise ValueError(
                f"has a polygon corner that is no number or beyond {FARTHEST_CORNER:.0f} px"
            )
        corners.append(values)
    check_outline(corners)
    merged: Rle = coco_mask.merge(coco_mask.frPyObjects(corners, height, width))
    return merged


def check_outline(polygons: Sequence[Sequence[float]]) -> None:
    """Raise ValueError, as `to_rle` does, for polygons that take forever to walk around.

    Each is a flat list of x, y pairs.
    """
    if len(polygons) > MOST_POLYGONS:
        raise ValueError(f"has {len(polygons)} polygons, at most {MOST_POLYGONS} are read")
    outline = 0.0
    for polygon in polygons:
        points = np.array([*polygon, *polygon[:2]], np.float64).reshape(-1, 2)
        outline += float(np.abs(np.diff(points, axis=0)).max(axis=1).sum())
    if outline > LONGEST_OUTLINE:
        raise ValueError(
            f"has an outline of {outline:.0f} px, at most {LONGEST_OUTLINE:.0f} are walked around"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
