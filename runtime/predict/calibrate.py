"""Turn a model's own probabilities into what users see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def probabilities(
    logits: npt.NDArray[np.float32], table: Sequence[tuple[float, float]] | None
) -> npt.NDArray[np.float32]:
    """Return what users see in place of N logits: probabilities, calibrated if there is a table."""
    chances = 1 / (1 + np.exp(-logits.astype(np.float64)))
    if table is not None:
        chances = calibrate(chances, table)
    return chances.astype(np.float32)


def calibrate(
    scores: npt.NDArray[np.float64], table: Sequence[tuple[float, float]]
) -> npt.NDArray[np.float64]:
    """Return the values of N scores by a table of (score, value), such as the expected IoU.

    scores: (N,) 0…1. Linear between the table's scores and constant beyond them. Higher scores
    never get lower values, also after rounding, so the order of proposals is kept.
    """
    known, values = np.array(table, np.float64).T
    above = np.searchsorted(known, scores, side="right")
    low, high = values[np.maximum(above - 1, 0)], values[np.minimum(above, len(values) - 1)]
    # Without the bounds, rounding can lift the end of a segment over the next one's start.
    found: npt.NDArray[np.float64] = np.clip(np.interp(scores, known, values), low, high)
    return found
