"""Segmentations of COCO files, in each of their three forms, as RLE that can be trusted."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray
from rlemasklib import RLEMask

from deepmask.coco.values import Box, brief, number, whole

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
        _, fault = _good_polygons(segmentation)
        if fault:
            raise ValueError(fault)
    else:
        raise ValueError("is neither a list of polygons nor an RLE")


def good_part(segmentation: Any, height: int, width: int) -> tuple[Any, str]:
    """Return what can be used of a segmentation, and what is wrong with it.

    The first is None where nothing can be used, else what `encode` takes; the second completes
    "segmentation …", "" where nothing is wrong. One flat list of numbers, a list of points and
    lists of points are read as the polygons that they mean; so are numbers as text, points with the
    keys x and y, an RLE that is alone in a list, and whole runs as floats.
    """
    segmentation = _plain(segmentation)
    if isinstance(segmentation, list) and segmentation:
        try:
            polygons, fault = _good_polygons(_as_polygons(segmentation))
        except ValueError as error:
            return None, str(error)
        return polygons or None, fault
    try:
        check(segmentation, height, width)
    except ValueError as error:
        return None, str(error)
    return segmentation, ""


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


def extent(segmentation: Any, height: int, width: int) -> tuple[Box, float]:
    """Return the box around a checked segmentation, and about its area in square pixels.

    The area of polygons is the sum of theirs, without a mask being drawn; it is 0 where no pixel
    of the picture lies in them.
    """
    if isinstance(segmentation, list):
        corners = [np.asarray(one, np.float64).reshape(-1, 2) for one in segmentation]
        every = np.concatenate(corners)
        (left, top), (right, bottom) = every.min(0).tolist(), every.max(0).tolist()
        area = sum(map(_enclosed, corners))
        inside = left >= 0 and top >= 0 and right <= width and bottom <= height
        if inside and area > _SURELY_SEEN and not any(map(_retraced, corners)):
            return (left, top, right - left, bottom - top), area
        rle = encode(segmentation, height, width)
        seen = float(coco_mask.area(rle))
        return (left, top, right - left, bottom - top), area if seen and area else seen
    rle = encode(segmentation, height, width)
    x, y, w, h = coco_mask.toBbox(rle).tolist()
    return (x, y, w, h), float(coco_mask.area(rle))


def mask_area(segmentation: Any, height: int, width: int) -> float:
    """Return how many pixels a checked segmentation has."""
    return float(coco_mask.area(encode(segmentation, height, width)))


def tight_box(segmentation: Any, height: int, width: int) -> Box:
    """Return x, y, width, height around a segmentation that was checked before, in pixels."""
    x, y, w, h = coco_mask.toBbox(encode(segmentation, height, width)).tolist()
    return x, y, w, h


#: Square pixels; a thinner polygon may miss every centre of a pixel.
_SURELY_SEEN = 64.0


def _enclosed(corners: NDArray[np.float64]) -> float:
    x, y = (corners - corners[0]).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _retraced(corners: NDArray[np.float64]) -> bool:
    # An outline that runs twice the same way is even: COCO's masks of it are empty.
    return len(set(map(tuple, corners.tolist()))) < len(corners) - 1


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


def _plain(segmentation: Any) -> Any:
    if isinstance(segmentation, list):
        alone = segmentation[0] if len(segmentation) == 1 else None
        if isinstance(alone, dict) and "counts" in alone:
            return _plain(alone)
        return [_plain_part(part) for part in segmentation]
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if isinstance(counts, list):
        runs = [whole(run) if type(run) in (float, str) else run for run in counts]
        return {**segmentation, "counts": runs}
    return segmentation


def _plain_part(part: Any, depth: int = 2) -> Any:
    """Return a polygon, a point or a number with text as numbers, and points as pairs."""
    if depth and isinstance(part, list):
        return [_plain_part(one, depth - 1) for one in part]
    if depth and isinstance(part, dict) and part.keys() >= {"x", "y"}:
        return [_plain_part(part[axis], 0) for axis in ("x", "y")]
    value = number(part) if isinstance(part, str) else None
    return part if value is None else value


def _as_polygons(parts: Sequence[Any]) -> Sequence[Any]:
    if len(parts) >= 6 and all(map(_is_number, parts)):
        return [parts]
    if len(parts) >= 3 and all(map(_is_point, parts)):
        return [[value for point in parts for value in point]]
    return [
        [value for point in part for value in point]
        if isinstance(part, list) and len(part) >= 3 and all(map(_is_point, part))
        else part
        for part in parts
    ]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_point(part: Any) -> bool:
    return isinstance(part, list | array) and len(part) == 2 and all(map(_is_number, part))


def _good_polygons(polygons: Sequence[Any]) -> tuple[list[Any], str]:
    """Return the polygons that can be drawn, and what is wrong with the first other one.

    Raises ValueError for what cannot be drawn in a reasonable time.
    """
    if len(polygons) > MOST_POLYGONS:
        raise ValueError(f"has {len(polygons)} polygons, at most {MOST_POLYGONS} are read")
    outline, good, fault = 0.0, [], ""
    for polygon in polygons:
        wrong = _polygon_fault(polygon)
        fault = fault or wrong
        if wrong:
            continue
        good.append(polygon)
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        steps = np.abs(np.diff(points, axis=0, append=points[:1]))
        outline += float(steps.max(axis=1).sum())
    if outline > LONGEST_OUTLINE:  # takes forever to walk around
        raise ValueError(
            f"has an outline of {outline:.0f} px, at most {LONGEST_OUTLINE:.0f} are walked around"
        )
    return good, fault


def _polygon_fault(polygon: Any) -> str:
    if not isinstance(polygon, Sequence) or len(polygon) < 6 or len(polygon) % 2:
        return "has a polygon that is not a list of three or more x, y pairs, as [x, y, x, y, x, y]"
    if isinstance(polygon, array):
        far = not bool((np.abs(np.asarray(polygon)) <= FARTHEST_CORNER).all())
    else:
        far = not all(_is_number(v) and abs(v) <= FARTHEST_CORNER for v in polygon)
    if far:
        return f"has a polygon corner that is no number or beyond {FARTHEST_CORNER:.0f} px"
    return ""
