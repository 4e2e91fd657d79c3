"""Masks as runs, without visiting their pixels.

A column of a mask is a polyline in the logits, so its runs end where a segment crosses the
threshold. Each crossing is solved, then checked against the arithmetic of `decode.py` on the pixels
beside it, so that the runs are those of the decoded mask, to the pixel, whatever the window's size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from deepmask.runtime.decode import Logits, Placement, excess, interpolate
from deepmask.runtime.geometry import (
    bilinear_taps,
    image_coordinate,
    knot_fraction,
    mask_coordinate,
)

Integers = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint32]

#: Columns handled at once: their interpolated samples stay within a core's cache.
_COLUMNS = 8192


def mask_runs(logits: Logits, threshold: float, placement: Placement) -> list[Counts]:
    """Each mask's run-length counts in an image of height × width, column by column (COCO's order).

    `logits` is (N, mask_size, mask_size), `threshold` a logit. Counts alternate background and
    mask, start with background (0 if the first pixel is set) and sum to height · width.
    """
    counts: list[Counts] = []
    if not len(placement):
        return counts
    samples = np.ascontiguousarray(excess(logits, threshold).transpose(0, 2, 1))
    for part in _chunks(placement):
        counts += _part_runs(samples[part], part, placement)
    return counts


def _chunks(placement: Placement) -> Iterator[slice]:
    """Slices of the windows with about `_COLUMNS` image columns each."""
    start, stop = placement.extent_x()
    chunk = np.cumsum(stop - start) // _COLUMNS
    edges = np.flatnonzero(np.diff(chunk, prepend=-1)).tolist()
    for first, last in zip(edges, [*edges[1:], len(placement)], strict=True):
        yield slice(first, last)


def _part_runs(samples: Logits, part: slice, placement: Placement) -> list[Counts]:
    """Counts of some windows; their samples are transposed: (n, mask column, mask row)."""
    count, size = len(samples), placement.grid.mask_size
    owner, column = _columns(samples, part, placement)
    location, ratio = placement.col[part][owner], placement.ratio_x[part][owner]
    coordinate = mask_coordinate(column, location, ratio, placement.grid)
    knot, before, after = bilinear_taps(coordinate, size)
    lines = interpolate(samples.reshape(-1, size), owner * size + knot, before, after)

    line, event = _events(lines > 0)
    row = _event_rows(lines, line, event, owner[line], part, placement)
    pixels = placement.height * placement.width
    # One key space for all masks; a mask may end on its last pixel, so each takes one value more.
    ends = _drop_pairs(owner[line] * (pixels + 1) + column[line] * placement.height + row)
    borders = np.searchsorted(ends, (pixels + 1) * np.arange(1, count))
    return [
        _counts(own - index * (pixels + 1), pixels)
        for index, own in enumerate(np.split(ends, borders))
    ]


def _columns(samples: Logits, part: slice, placement: Placement) -> tuple[Integers, Integers]:
    """The image columns where a mask can have pixels: window (0 … n-1) and column of each."""
    start, stop = (bound[part] for bound in placement.extent_x())
    size = placement.grid.mask_size
    positive: npt.NDArray[np.bool_] = samples.max(axis=2) > 0
    # A column lies between two samples: keep one sample more at each side of the positive ones.
    first = np.where(positive.any(axis=1), positive.argmax(axis=1), size)
    last = size - 1 - positive[:, ::-1].argmax(axis=1)
    low = image_coordinate(first - 1, placement.col[part], placement.ratio_x[part], placement.grid)
    high = image_coordinate(last + 1, placement.col[part], placement.ratio_x[part], placement.grid)
    start = np.where(first > 0, np.maximum(start, np.floor(low).astype(np.int64)), start)
    stop = np.where(last < size - 1, np.minimum(stop, np.ceil(high).astype(np.int64) + 1), stop)
    length = np.maximum(np.where(first < size, stop - start, 0), 0)
    owner = np.repeat(np.arange(len(samples)), length)
    column = np.arange(len(owner)) - np.repeat(np.cumsum(length) - length - start, length)
    return owner, column


def _events(inside: npt.NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Where lines (C, M) change state: line and event, in order, an even number a line.

    Event 0 is a start inside at the window's edge, event e a change between samples e - 1 and e,
    event M an end at the window's other edge.
    """
    lines, size = inside.shape
    changes = np.empty((lines, size + 1), np.bool_)
    changes[:, 0] = inside[:, 0]
    np.not_equal(inside[:, 1:], inside[:, :-1], out=changes[:, 1:-1])
    changes[:, -1] = inside[:, -1]
    line, event = np.divmod(np.flatnonzero(changes), size + 1)
    return line, event


def _event_rows(
    lines: Logits, line: Integers, event: Integers, owner: Integers, part: slice, at: Placement
) -> Integers:
    """The first image row in the state after each event, within the window's extent."""
    size = at.grid.mask_size
    knot = np.clip(event - 1, 0, size - 2)
    low, high = lines[line, knot], lines[line, knot + 1]
    location, ratio = at.row[part][owner], at.ratio_y[part][owner]

    def changed(row: Integers) -> npt.NDArray[np.bool_]:
        """Whether a row has the state of the segment's far sample, as `decode.py` computes it."""
        after = knot_fraction(mask_coordinate(row, location, ratio, at.grid), knot)
        value = low * (np.float32(1) - after) + high * after
        same: npt.NDArray[np.bool_] = (value > 0) == (high > 0)
        return same

    span = low.astype(np.float64) - high
    root = knot + low / np.where(span == 0, 1.0, span)
    row = np.floor(image_coordinate(root, location, ratio, at.grid)).astype(np.int64) + 1
    row = np.where(changed(row), row - changed(row - 1), row + 1)
    start, stop = (bound[part][owner] for bound in at.extent_y())
    row = np.clip(row, start, stop)
    return np.where(event == 0, start, np.where(event == size, stop, row))


def _drop_pairs(ends: Integers) -> Integers:
    """Sorted run ends without the runs of no length: of equal ends, an even number vanish."""
    first = np.flatnonzero(np.diff(ends, prepend=-1))
    repeats = np.diff(first, append=len(ends))
    kept: Integers = ends[first[repeats % 2 == 1]]
    return kept


def _counts(ends: Integers, pixels: int) -> Counts:
    """Run ends → counts; the last run fills the image."""
    counts = np.empty(len(ends) + 1, np.uint32)
    counts[:-1] = ends
    counts[-1] = pixels
    counts[1:] -= counts[:-1].copy()
    return counts[:-1] if len(ends) and counts[-1] == 0 else counts
