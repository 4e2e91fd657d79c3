"""Segmentations of COCO files, in each of their three forms, as RLE that can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from rlemasklib import RLEMask

from deepmask.coco.values import Box, brief

#: pycocotools walks a polygon pixel by pixel: a corner this far away is a mistake, and a slow one.
FARTHEST_CORNER = 1e5
#: Nor would it come back from going round and round: most pixels around one object, and polygons.
LONGEST_OUTLINE = 5e5
MOST_POLYGONS = 2000

Rle = dict[str, Any]


def to_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Return a segmentation of any form as `{"size": [height, width], "counts": bytes}`.

    Raises ValueError where `check` does.
    """
    check(segmentation, height, width)
    return encode(segmentation, height, width)


def check(segmentation: Any, height: int, width: int) -> None:
    """Raise ValueError, with a text that completes "segmentation …", for what is no mask.

    Masks are polygons (a list of flat x, y lists), uncompressed RLE (counts a list) and compressed
    RLE (counts str or bytes). Runs must add up to height·width (pycocotools would not return from
    comparing others), and sizes be the image's.
    """
    if isinstance(segmentation, dict):
        _check_runs(segmentation, height, width)
    elif isinstance(segmentation, list) and segmentation:
        _check_polygons(segmentation)
    else:
        raise ValueError("is neither a list of polygons nor an RLE")


def encode(segmentation: Any, height: int, width: int) -> Rle:
    """Return what `to_rle` does, of a segmentation that was checked before."""
    if isinstance(segmentation, list):
        polygons = [list(polygon) for polygon in segmentation]
        merged: Rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return merged
    counts = _as_bytes(segmentation["counts"])
    if isinstance(counts, bytes):
        # Written anew: in odd characters pycocotools reads other runs, and does not come back.
        mask = RLEMask.from_dict({"size": [height, width], "counts": counts})
        return {"size": [height, width], "counts": mask.to_dict()["counts"]}
    plain = {"size": [height, width], "counts": list(counts)}
    encoded: Rle = coco_mask.frPyObjects(plain, height, width)
    return encoded


def tight_box(segmentation: Any, height: int, width: int) -> Box:
    """Return x, y, width, height around a segmentation that was checked before, in pixels."""
    x, y, w, h = coco_mask.toBbox(encode(segmentation, height, width)).tolist()
    return x, y, w, h


def _check_runs(segmentation: dict[str, Any], height: int, width: int) -> None:
    size, counts = segmentation.get("size"), _as_bytes(segmentation.get("counts"))
    if not isinstance(size, list) or size != [height, width]:
        raise ValueError(f"has size {brief(size)}, the image has [{height}, {width}]")
    if isinstance(counts, bytes):
        try:
            RLEMask.from_dict({"size": size, "counts": counts})
        except ValueError:
            raise ValueError("is not a COCO RLE of that size") from None
    elif not isinstance(counts, Sequence) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("has counts that are neither text nor whole numbers")
    elif sum(counts) != height * width:
        raise ValueError(f"has runs adding up to {sum(counts)}, not {height} x {width}")


def _as_bytes(counts: Any) -> Any:
    return counts.encode("ascii", errors="replace") if isinstance(counts, str) else counts


def _check_polygons(polygons: Sequence[Any]) -> None:
    if len(polygons) > MOST_POLYGONS:
        raise ValueError(f"has {len(polygons)} polygons, at most {MOST_POLYGONS} are read")
    outline = 0.0
    for polygon in polygons:
        if not isinstance(polygon, Sequence) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("has a polygon that is not a list of three or more x, y pairs")
        if not all(type(v) in (int, float) and abs(v) <= FARTHEST_CORNER for v in polygon):
            raise ValueError(
                f"has a polygon corner that is no number or beyond {FARTHEST_CORNER:.0f} px"
            )
        points = np.array([*polygon, *polygon[:2]], np.float64).reshape(-1, 2)
        outline += float(np.abs(np.diff(points, axis=0)).max(axis=1).sum())
    if outline > LONGEST_OUTLINE:  # takes forever to walk around
        raise ValueError(
            f"has an outline of {outline:.0f} px, at most {LONGEST_OUTLINE:.0f} are walked around"
        )
