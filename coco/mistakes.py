"""Recognise numbers that mean something else: boxes as corners or fractions, outlines in percent.

No single value is wrong then; only the outline tells what the box should be.
"""

from __future__ import annotations

from collections.abc import Iterator

from deepmask.coco.values import Box

#: Pixels, and share of its side, by which a box may miss its outline: tools round differently.
_PIXELS, _SHARE = 2.0, 0.05
#: Overlap (IoU) from which a box belongs to its outline, and below which they surely differ.
_SAME, _DIFFERENT = 0.75, 0.5
#: Pixels of a side that is surely not that of an object within one pixel.
_LARGE = 4.0
#: So many times smaller or larger, and so many square pixels off, is an area not its mask's.
_TIMES, _OFF = 10.0, 16.0


def mismatch(box: Box, outline: Box, width: int, height: int) -> str:
    """Return which mistake a box and the box of its outline look like, "" if they fit.

    width, height  of the picture. A box that holds the outline, or that the outline holds, fits:
    labels may have boxes of what is hidden.
    """
    if _iou(box, outline) >= _SAME or _near(box, outline):
        return ""
    for text, read_box in _readings(box, width, height):
        if _near(read_box, outline):
            return f"bbox looks like {text}, not x, y, width, height in pixels"
    for text, read_outline in _outline_readings(outline, width, height):
        if _near(box, read_outline):
            return f"the outline looks like {text}, not x, y in pixels"
    if _is_fractions(outline) and max(box[2:]) > _LARGE:
        return "the outline looks like fractions of the picture, not x, y in pixels"
    if _is_fractions(box) and max(outline[2:]) > _LARGE:
        return "bbox looks like fractions of the picture, not x, y, width, height in pixels"
    apart = not (_holds(box, outline) or _holds(outline, box))
    if apart and _iou(box, outline) < _DIFFERENT:
        return f"bbox and the outline, which spans {_text(outline)}, are of different places"
    return ""


def odd_area(area: float, mask: float, box: Box, width: int, height: int) -> str:
    """Return how an annotated area fails to be that of its mask, "" if it may be."""
    largest = max(mask, box[2] * box[3])
    if area + _OFF >= mask and area <= largest + _OFF:
        return ""
    if mask / _TIMES <= area <= largest * _TIMES:
        return ""
    if area and abs(area * width * height - mask) < 0.1 * mask:
        return "looks like a fraction of the picture's"
    return f"is not near its mask's, {mask:.0f}"


def _readings(box: Box, width: int, height: int) -> Iterator[tuple[str, Box]]:
    x, y, w, h = box
    yield "corners x1, y1, x2, y2", (x, y, w - x, h - y)
    yield "the centre and size", (x - w / 2, y - h / 2, w, h)
    yield "y, x, height, width", (y, x, h, w)
    yield "corners y1, x1, y2, x2", (y, x, h - y, w - x)
    for text, unit in (("fractions of the picture", 1), ("percent", 100)):
        a, b = width / unit, height / unit
        yield text, (x * a, y * b, w * a, h * b)
        yield f"corners in {text}", (x * a, y * b, (w - x) * a, (h - y) * b)
        yield f"the centre and size in {text}", ((x - w / 2) * a, (y - h / 2) * b, w * a, h * b)


def _outline_readings(outline: Box, width: int, height: int) -> Iterator[tuple[str, Box]]:
    x, y, w, h = outline
    yield "y, x", (y, x, h, w)
    for text, unit in (("fractions of the picture", 1), ("percent", 100)):
        a, b = width / unit, height / unit
        yield text, (x * a, y * b, w * a, h * b)


def _is_fractions(box: Box) -> bool:
    return min(_corners(box)) >= 0 and max(_corners(box)) <= 1


def _corners(box: Box) -> Box:
    x, y, w, h = box
    return x, y, x + w, y + h


def _near(a: Box, b: Box) -> bool:
    if min(*a[2:], *b[2:]) < 0:
        return False
    limits = [max(_PIXELS, _SHARE * side) for side in b[2:]] * 2
    pairs = zip(_corners(a), _corners(b), limits, strict=True)
    return all(abs(one - other) <= limit for one, other, limit in pairs)


def _iou(a: Box, b: Box) -> float:
    (ax, ay, ar, ab), (bx, by, br, bb) = _corners(a), _corners(b)
    both = max(0.0, min(ar, br) - max(ax, bx)) * max(0.0, min(ab, bb) - max(ay, by))
    either = a[2] * a[3] + b[2] * b[3] - both
    return both / either if either > 0 else 0.0


def _holds(outer: Box, inner: Box) -> bool:
    (ox, oy, o_right, o_bottom), (ix, iy, i_right, i_bottom) = _corners(outer), _corners(inner)
    across = ox - _PIXELS <= ix and i_right <= o_right + _PIXELS
    return across and oy - _PIXELS <= iy and i_bottom <= o_bottom + _PIXELS


def _text(box: Box) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in box) + "]"
