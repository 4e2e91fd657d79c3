"""Turn mask logits into run lengths without visiting the pixels of a mask.

Between two columns of samples each row of samples is a segment, which crosses the threshold at one
place at most. So the pixel columns of a window are followed from left to right, each as bits: which
rows of samples are in the mask there. From one to the next few change. Down a pixel column the mask
is a polyline, and its runs end between rows whose bits differ.

Where a segment crosses the threshold is solved for. If that is too near a pixel's centre to tell
its side, the pixel's own value decides: the bilinear sample at its centre, columns first, in
float32, as two products and one sum. So the runs are those of the mask drawn pixel by pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.predict.mask_samples import MaskSamples, Samples
from deepmask.runtime.views.geometry import (
    Floats,
    Integers,
    knot_fraction,
    mask_coordinate,
    pixel_coordinate,
    window_extent,
)

Counts = npt.NDArray[np.uint32]
Bits = npt.NDArray[np.uint64]

#: Nearer to a pixel's centre than this, in mask samples, a crossing is checked there. Rounding in
#: float32 moves it by less than 3e-7, for the values at its segment's ends differ in sign.
_UNSURE = 1e-5
#: Bits in a word.
_WORD = 64


def mask_runs(
    logits: npt.NDArray[Any],
    threshold: float,
    boxes: Floats,
    size: tuple[int, int],
) -> list[Counts]:
    """Return the run-length counts of N ≥ 1 masks in a picture, column by column (COCO's order).

    logits     (N, mask_size, mask_size), finite, float32 or float16: samples over each window.
    threshold  logit above which a sample belongs to the mask.
    boxes      (N, 4) the windows: top, left, height, width in pixels of the picture, as floats.
    size       (height, width) of the picture.
    Counts alternate background and mask, start with background (0 if the first pixel is set) and
    sum to height · width.
    """
    masks = MaskSamples(logits, threshold)
    top, left, height, width = boxes.T
    down = _Axis(top, height, size[0], masks.size)
    across = _Axis(left, width, size[1], masks.size)
    columns = _Columns(across)
    ends = _ends(_row_bits(masks, across, columns))
    ends[columns.last] = 0
    ends[columns.last, 0] = 1
    at, event = _set_bits(ends)

    high, low = _neighbours(masks, across, columns, at, event)
    row = _rows(down, columns.window.take(at), event, high, low)
    # One space for all masks; each has a place after the end of its last pixel, for its own end.
    pixels = size[0] * size[1]
    key = columns.window * (pixels + 2) + columns.column * size[0]
    key[columns.last] = np.arange(1, len(columns.last) + 1) * (pixels + 2) - 1
    row[np.searchsorted(at, columns.last)] = 0
    return _counts(_drop_pairs(key.take(at) + row), len(columns.last), pixels)


class _Axis:
    """N windows along one axis of a picture of `limit` pixels, each of `size` samples.

    start, stop  (N,) the pixels whose centres lie in each window: the first, one past the last.
    """

    def __init__(self, begin: Floats, length: Floats, limit: int, size: int) -> None:
        self.begin, self.length, self.limit, self.size = begin, length, limit, size
        self.start, self.stop = window_extent(begin, length, limit)
        # Sample k is at pixel origin + k · step.
        self._step = length / size
        self._origin = pixel_coordinate(0, begin, length, size)
        self._margin = _UNSURE * self._step.max()

    def crossings(
        self, window: Integers, knot: Integers, here: Samples, there: Samples
    ) -> npt.NDArray[np.int32]:
        """Return the first pixels on the side of `there`, 0 … `limit`, (C,).

        here, there  values of different sides at samples `knot` and knot + 1 of a window.
        """
        place: Floats = np.add(here / (here - there), knot, dtype=np.float64)
        place *= self._step.take(window)
        place += self._origin.take(window)
        nearest = np.rint(place)
        place -= nearest
        pixel = nearest.astype(np.int32)
        pixel += place > 0

        unsure = np.flatnonzero(np.abs(place, out=place) < self._margin)
        at, doubtful = window[unsure], nearest[unsure]
        coordinate = mask_coordinate(doubtful, self.begin[at], self.length[at], self.size)
        after = knot_fraction(coordinate, knot[unsure])
        value = here[unsure] * (np.float32(1) - after) + there[unsure] * after
        pixel[unsure] = doubtful + ((value > 0) != (there[unsure] > 0))
        return np.clip(pixel, 0, self.limit, out=pixel)


class _Columns:
    """The pixel columns of N windows in turn, C in all: after each window's one that ends its mask.

    first, last  (N,) the place of each window's first column, and of the one that ends its mask.
    window       (C,) which window it is of.
    column       (C,) its place in the picture.
    """

    def __init__(self, across: _Axis) -> None:
        length = across.stop - across.start + 1
        self.last = np.cumsum(length) - 1
        self.first = self.last - length + 1
        self.window = np.repeat(np.arange(len(length)), length)
        self.column = np.arange(len(self.window)) - (self.first - across.start).take(self.window)


def _row_bits(masks: MaskSamples, across: _Axis, columns: _Columns) -> Bits:
    """Return which rows of samples are in the mask at each pixel column, as bits: (C, words).

    After a window's columns the bits are those of its last column of samples.
    """
    above, size = masks.above(), masks.size
    words = size // _WORD + 1
    flat = above.reshape(-1)
    differs = np.zeros(flat.shape, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=differs[:-1])
    differs.reshape(-1, size)[:, -1] = False  # not from one row to the next
    place = np.flatnonzero(differs)
    line, left = _divided(place, size)
    window, row = _divided(line, size)
    column = across.crossings(window, left, masks.take(place), masks.take(place + 1))

    at = (columns.first - across.start).take(window) + column
    changes = np.zeros((len(columns.window), words), np.uint64)
    bit = np.uint64(1) << (row % _WORD).astype(np.uint64)
    np.bitwise_xor.at(changes.reshape(-1), at * words + row // _WORD, bit)
    # A window begins with its first column of samples; before it are those of the last window.
    outer = np.zeros((len(above), 2, _WORD * words), np.bool_)
    outer[:, :, :size] = above[:, :, [0, -1]].transpose(0, 2, 1)
    begin, end = np.packbits(outer, axis=-1, bitorder="little").view(np.uint64).swapaxes(0, 1)
    begin[1:] ^= end[:-1]
    changes[columns.first] ^= begin
    return np.bitwise_xor.accumulate(changes, axis=0, out=changes)


def _ends(bits: Bits) -> Bits:
    """Return the rows before which runs end: whose bit differs from the one before, or from 0."""
    ends = bits ^ (bits << np.uint64(1))
    ends[:, 1:] ^= bits[:, :-1] >> np.uint64(_WORD - 1)
    return ends


def _set_bits(words: Bits) -> tuple[Integers, Integers]:
    """Return line and place of each bit that is set in (C, words), in order."""
    octets = words.view(np.uint8).reshape(-1)
    place = np.flatnonzero(octets != 0)
    bit = np.flatnonzero(np.unpackbits(octets.take(place), bitorder="little").view(np.bool_))
    line, octet = _divided(place.take(bit >> 3), 8 * words.shape[1])
    bit &= 7
    bit += octet << 3
    return line, bit


def _neighbours(
    masks: MaskSamples, across: _Axis, columns: _Columns, at: Integers, event: Integers
) -> tuple[Samples, Samples]:
    """Return the values in columns `at` at sample rows event - 1 and event; outside they differ."""
    size = masks.size
    window = columns.window
    begin, length = across.begin.take(window), across.length.take(window)
    coordinate = mask_coordinate(columns.column, begin, length, size)
    left = np.clip(coordinate.astype(np.int64), 0, size - 2)
    after = knot_fraction(coordinate, left)
    before = (np.float32(1) - after).take(at)
    after = after.take(at)
    place = (window * (size * size) + left).take(at) + event * size

    def values(place: Integers) -> Samples:
        found = masks.take(place) * before
        found += masks.take(place + 1) * after
        return found

    upper, lower = np.flatnonzero(event == 0), np.flatnonzero(event == size)
    place[lower] -= size
    low = values(place)
    place -= size
    place[upper] += size
    high = values(place)
    high[upper], low[upper] = -1, 1
    high[lower], low[lower] = 1, -1
    return high, low


def _rows(
    down: _Axis, window: Integers, event: Integers, high: Samples, low: Samples
) -> npt.NDArray[np.int32]:
    """Return the first pixel row past each end of a run; those at a window's edges are there."""
    row = down.crossings(window, event - 1, high, low)
    upper, lower = np.flatnonzero(event == 0), np.flatnonzero(event == down.size)
    row[upper] = down.start[window[upper]]
    row[lower] = down.stop[window[lower]]
    return row


def _divided(number: Integers, by: int) -> tuple[Integers, Integers]:
    """Return quotient and rest; numpy's own `divmod` is much slower."""
    quotient: Integers = number // by
    return quotient, number - quotient * by


def _drop_pairs(ends: Integers) -> Integers:
    """Drop the runs of no length from sorted run ends: of equal ends, an even number vanish."""
    again = np.flatnonzero(ends[1:] == ends[:-1]) + 1
    if not len(again):
        return ends
    # Of each series of repeats the first, the third … go, each with what it repeats.
    first = np.flatnonzero(np.diff(again, prepend=-1) != 1)
    nth = np.arange(len(again)) - np.repeat(first, np.diff(first, append=len(again)))
    gone = again[nth % 2 == 0]
    kept = np.ones(len(ends), np.bool_)
    kept[gone] = kept[gone - 1] = False
    return ends[kept]


def _counts(ends: Integers, count: int, pixels: int) -> list[Counts]:
    """Turn run ends of `count` masks into counts; each mask's are followed by its own end."""
    last = np.searchsorted(ends, np.arange(1, count + 1) * (pixels + 2) - 1)
    first = np.append(0, last[:-1] + 1)
    counts = ends.copy()
    counts[1:] -= ends[:-1]
    counts[first[1:]] -= 1
    counts[last] -= 1
    stop = last + ((counts[last] > 0) | (first == last))  # no last run of no length, but a mask's
    runs = counts.astype(np.uint32)
    return [runs[a:b] for a, b in zip(first.tolist(), stop.tolist(), strict=True)]
