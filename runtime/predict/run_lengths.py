"""Turn mask logits into run lengths without visiting the pixels of a mask.

A column of a mask is a polyline in the logits, so its runs end where a segment crosses the
threshold. Only cells of four samples that are not all on one side can hold a crossing: a mask's
outline. Each crossing is solved for; where it is too near a pixel's centre to tell its side, the
pixel's own value decides: the bilinear sample at its centre, columns first, in float32, as two
products and one sum. So the runs are exactly those of the mask drawn pixel by pixel.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.views.geometry import (
    Floats,
    Integers,
    knot_fraction,
    mask_coordinate,
    pixel_coordinate,
    window_extent,
)

Counts = npt.NDArray[np.uint32]
Logits = npt.NDArray[np.float32]

#: Windows handled at once: what is computed of them stays within a core's cache.
_WINDOWS = 256
#: Nearer to a pixel's centre than this, in mask samples, a crossing is checked there. Rounding in
#: float32 moves it by less than 3e-7, for the values at its segment's ends differ in sign.
_UNSURE = 1e-5


def mask_runs(
    logits: npt.NDArray[Any],
    threshold: float,
    boxes: Floats,
    size: tuple[int, int],
    threads: int = 1,
) -> list[Counts]:
    """Return the run-length counts of N masks in a picture, column by column (COCO's order).

    logits     (N, mask_size, mask_size), samples over each window, float32 or float16.
    threshold  logit above which a sample belongs to the mask.
    boxes      (N, 4) the windows: top, left, height, width in pixels of the picture, as floats.
    size       (height, width) of the picture.
    Counts alternate background and mask, start with background (0 if the first pixel is set) and
    sum to height · width. They are the same for any number of `threads`.
    """

    def of_part(first: int) -> list[Counts]:
        part = slice(first, first + _WINDOWS)
        placed = _Placed(boxes[part], *size, logits.shape[-1])
        samples = logits[part].astype(np.float32, copy=False)
        return _part_runs(samples, np.float32(threshold), placed)

    starts = range(0, len(boxes), _WINDOWS)
    if min(threads, len(starts)) > 1:
        with ThreadPoolExecutor(min(threads, len(starts))) as pool:  # numpy lets go of its lock
            parts = list(pool.map(of_part, starts))
    else:
        parts = list(map(of_part, starts))
    return [counts for part in parts for counts in part]


@dataclass(frozen=True)
class _Placed:
    """Windows (N, 4) in a picture of height × width pixels, with `size` mask samples a side."""

    boxes: Floats
    height: int
    width: int
    size: int


@dataclass(frozen=True)
class _Cells:
    """Places where runs may end, (C,) each, in the order in which a mask's columns meet them.

    `window`, `left` and `event` say where: between mask columns left and left + 1, and between mask
    rows event - 1 and event; event 0 is the window's upper edge, event mask_size its lower one.
    `corners` are the samples there less the threshold: upper left, upper right, lower left, lower
    right; beyond the window they are outside the mask.
    """

    window: Integers
    left: Integers
    event: Integers
    corners: Logits

    def strips(self) -> tuple[Integers, Integers]:
        """Return first cell and number of cells of each pair of mask columns that has any."""
        new = np.diff(self.window, prepend=-1).astype(np.bool_)
        new |= np.diff(self.left, prepend=-1).astype(np.bool_)
        first = np.flatnonzero(new)
        return first, np.diff(first, append=len(new))


def _part_runs(samples: Logits, threshold: np.float32, placed: _Placed) -> list[Counts]:
    """Return the counts of some windows; see `mask_runs`."""
    cells = _cells(samples, threshold)
    first, number = cells.strips()
    strip, column = _columns(cells.window[first], cells.left[first], placed)
    before, after = _taps(cells, first[strip], column, placed)

    # Each image column with each cell of its strip.
    line = np.repeat(np.arange(len(strip)), number[strip])
    cell = _ranges(first[strip], number[strip])
    before, after = before[line], after[line]
    upper_left, upper_right, lower_left, lower_right = cells.corners
    high = upper_left[cell] * before + upper_right[cell] * after
    low = lower_left[cell] * before + lower_right[cell] * after
    crossed = np.flatnonzero((high > 0) != (low > 0))
    line, cell, high, low = line[crossed], cell[crossed], high[crossed], low[crossed]

    row = _rows(cells, cell, high, low, placed)
    pixels = placed.height * placed.width
    # One key space for all masks; a mask may end on its last pixel, so each takes one value more.
    ends = cells.window[cell] * (pixels + 1) + column[line] * placed.height + row
    return _counts(_drop_pairs(ends), len(samples), pixels)


def _cells(samples: Logits, threshold: np.float32) -> _Cells:
    """Find the cells whose four samples are not all on one side of the threshold."""
    count, size = len(samples), samples.shape[1]
    # Column after column, for that is the order of runs. Above each column, and so below the one
    # before, lies one sample outside all masks; below the last lies one more.
    padded = np.zeros(count * size * (size + 1) + 1, np.bool_)
    columns = padded[:-1].reshape(count, size, size + 1)
    columns[:, :, 1:] = np.greater(samples, threshold).transpose(0, 2, 1)
    some, every = padded[1:] | padded[:-1], padded[1:] & padded[:-1]
    of_pair = size + 1
    mixed = (some[of_pair:] | some[:-of_pair]) ^ (every[of_pair:] & every[:-of_pair])
    column, event = _divided(np.flatnonzero(mixed), of_pair)
    window, left = _divided(column, size)
    within = np.flatnonzero(left < size - 1)  # not from one window to the next
    window, left, event = window[within], left[within], event[within]

    values = samples.ravel()
    above = (window * size + np.maximum(event - 1, 0)) * size + left
    below = (window * size + np.minimum(event, size - 1)) * size + left
    corners = np.stack([values[above], values[above + 1], values[below], values[below + 1]])
    corners -= threshold  # bilinear weights sum to one, so it can be subtracted first
    corners[:2, event == 0] = -1
    corners[2:, event == size] = -1
    return _Cells(window, left, event, corners)


def _divided(number: Integers, by: int) -> tuple[Integers, Integers]:
    """Return quotient and rest; numpy's own `divmod` is much slower."""
    quotient: Integers = number // by
    return quotient, number - quotient * by


def _columns(window: Integers, left: Integers, placed: _Placed) -> tuple[Integers, Integers]:
    """List the image columns between mask columns left and left + 1: index of the pair, column."""
    begin, length = placed.boxes[window, 1::2].T  # left and width
    start, stop = window_extent(begin, length, placed.width)
    edges = [
        np.clip(np.ceil(pixel_coordinate(knot, begin, length, placed.size)), start, stop)
        for knot in (left, left + 1)
    ]
    # The outermost samples hold up to the window's edge.
    low = np.where(left == 0, start, edges[0]).astype(np.int64)
    high = np.where(left == placed.size - 2, stop, edges[1]).astype(np.int64)
    return np.repeat(np.arange(len(low)), high - low), _ranges(low, high - low)


def _taps(
    cells: _Cells, cell: Integers, column: Integers, placed: _Placed
) -> tuple[Logits, Logits]:
    """Weigh the samples left and right of each image column."""
    begin, length = placed.boxes[cells.window[cell], 1::2].T  # left and width
    coordinate = mask_coordinate(column, begin, length, placed.size)
    after = knot_fraction(coordinate, cells.left[cell])
    return np.float32(1) - after, after


def _rows(cells: _Cells, cell: Integers, high: Logits, low: Logits, placed: _Placed) -> Integers:
    """Return the first image row past each crossing, in `cell` from `high` to `low`."""
    top, length = placed.boxes[:, ::2].T  # and height, of each window
    window, event = cells.window[cell], cells.event[cell]
    sample = (length / placed.size)[window]  # in picture rows
    crossing = (event - 0.5) * sample + top[window] - 0.5  # the row of sample event - 1
    crossing += high / (high - low) * sample
    row: Integers = np.floor(crossing).astype(np.int64) + 1

    nearest = np.rint(crossing)
    unsure = np.flatnonzero(np.abs(crossing - nearest) < _UNSURE * sample)
    at, doubtful = window[unsure], nearest[unsure].astype(np.int64)
    coordinate = mask_coordinate(doubtful, top[at], length[at], placed.size)
    after = knot_fraction(coordinate, event[unsure] - 1)
    value = high[unsure] * (np.float32(1) - after) + low[unsure] * after
    row[unsure] = doubtful + ((value > 0) != (low[unsure] > 0))

    start, stop = window_extent(top, length, placed.height)
    first = np.where(event == placed.size, stop[window], start[window])
    last = np.where(event == 0, start[window], stop[window])
    return np.minimum(np.maximum(row, first, out=row), last, out=row)


def _ranges(first: Integers, length: Integers) -> Integers:
    """Count first, first + 1, … in each range, one range after another."""
    before = np.cumsum(length) - length
    ranges: Integers = np.arange(int(length.sum())) + np.repeat(first - before, length)
    return ranges


def _drop_pairs(ends: Integers) -> Integers:
    """Drop the runs of no length from sorted run ends: of equal ends, an even number vanish."""
    first = np.flatnonzero(np.diff(ends, prepend=-1))
    repeats = np.diff(first, append=len(ends))
    kept: Integers = ends[first[repeats % 2 == 1]]
    return kept


def _counts(ends: Integers, count: int, pixels: int) -> list[Counts]:
    """Turn run ends of `count` masks in one key space into counts; each last run fills up."""
    edges = np.searchsorted(ends, (pixels + 1) * np.arange(count + 1))
    first, last = edges[:-1] + np.arange(count), edges[1:] + np.arange(count)
    points = np.empty(len(ends) + count, np.int64)
    owner = np.repeat(np.arange(count), np.diff(edges))
    points[np.arange(len(ends)) + owner] = ends - owner * (pixels + 1)
    points[last] = pixels
    counts = np.diff(points, prepend=0)
    counts[first] = points[first]
    stop = last + ((counts[last] > 0) | (first == last))  # no last run of no length, but a mask's
    runs = counts.astype(np.uint32)
    return [runs[a:b] for a, b in zip(first.tolist(), stop.tolist(), strict=True)]
