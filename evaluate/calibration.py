"""Learn from labelled pictures what a model's scores mean: the expected IoU with an object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Table = tuple[tuple[float, float], ...]

#: Width of a bin of scores, and the fewest proposals that make one.
BIN, LEAST = 0.05, 50


def calibration_table(scores: Floats, ious: Floats) -> Table:
    """Return (score, expected IoU) pairs: scores ascending, values never falling.

    scores  (N,) the model's own probabilities, 0…1, before duplicates are ranked lower.
    ious    (N,) IoU of each proposal's mask with the object that it overlaps most.

    Proposals are averaged over bins of scores; where a bin's mean IoU is lower than that of the bin
    before, both are joined (isotonic regression). Raises ValueError for fewer than `LEAST`
    proposals.
    """
    if len(scores) < LEAST:
        raise ValueError(f"{len(scores)} proposals are too few to calibrate scores, {LEAST} needed")
    order = np.argsort(scores, kind="stable")
    groups = _bins(scores[order])
    blocks: list[Floats] = []  # sum of scores, sum of IoUs, count
    for group in groups:
        rows = order[group]
        block = np.array([scores[rows].sum(), ious[rows].sum(), len(rows)])
        while blocks and blocks[-1][1] / blocks[-1][2] >= block[1] / block[2]:
            block = block + blocks.pop()
        blocks.append(block)
    pairs = [(float(total / count), float(iou / count)) for total, iou, count in blocks]
    return tuple((score, round(min(1.0, iou), 4)) for score, iou in pairs)


def _bins(ascending: Floats) -> list[slice]:
    """Cut ascending scores into bins of `BIN`, joined until each has `LEAST`."""
    edges = np.searchsorted(ascending, np.arange(BIN, 1, BIN))
    starts = [0]
    for edge in edges.tolist():
        if edge - starts[-1] >= LEAST and len(ascending) - edge >= LEAST:
            starts.append(edge)
    ends = [*starts[1:], len(ascending)]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def reliability(scores: Floats, ious: Floats, bins: int = 10) -> list[tuple[float, float, int]]:
    """Return (mean score, mean IoU, proposals) of each bin of scores that has any."""
    index = np.minimum((scores * bins).astype(int), bins - 1)
    found = []
    for k in range(bins):
        mine = index == k
        if mine.any():
            found.append((float(scores[mine].mean()), float(ious[mine].mean()), int(mine.sum())))
    return found
