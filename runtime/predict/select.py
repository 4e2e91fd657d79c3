"""The best locations of a pyramid, chosen before any mask is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
import numpy.typing as npt

from deepmask.runtime.views.pyramid import Level


@dataclass(frozen=True)
class Selection:
    """N locations, best first: level of the pyramid, row and column of its score map, logit."""

    level: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    logit: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """N."""
        return len(self.logit)


def weigh_scales(
    scores: Sequence[npt.NDArray[np.float32]], levels: Sequence[Level], prior: float
) -> list[npt.NDArray[np.float32]]:
    """The levels' score maps with `prior` added for each octave that their factor is below 1.

    A larger scale has more windows, each as sure of itself as any: by raw logits (§3.3) parts and
    small things crowd whole objects out of the top of the list.
    """
    return [
        score - np.float32(prior * log2(level.factor))
        for score, level in zip(scores, levels, strict=True)
    ]


def select_best(scores: Sequence[npt.NDArray[np.float32]], count: int) -> Selection:
    """The `count` highest of all levels' score maps, each (rows, cols) logits.

    Order: logit descending, then level, row, column, so that ties never depend on the machine.
    The logit ranks, over all scales, as in the paper (§3.3).
    """
    logits = np.concatenate([np.empty(0, np.float32), *(level.ravel() for level in scores)])
    chosen = _best_indices(logits, count)
    ends = np.cumsum([level.size for level in scores])
    level = np.searchsorted(ends, chosen, side="right")
    starts = np.array([end - score.size for end, score in zip(ends, scores, strict=True)], np.int64)
    cols = np.array([score.shape[1] for score in scores], np.int64)
    within = chosen - starts[level]
    return Selection(level, within // cols[level], within % cols[level], logits[chosen])


def _best_indices(logits: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Indices of the `count` largest, descending; among equals the lower index comes first."""
    if count < len(logits):
        weakest = np.partition(logits, len(logits) - count)[len(logits) - count]
        above = np.flatnonzero(logits > weakest)
        ties = np.flatnonzero(logits == weakest)[: count - len(above)]
        indices = np.union1d(above, ties)
    else:
        indices = np.arange(len(logits))
    order = np.argsort(-logits[indices], kind="stable")
    best: npt.NDArray[np.int64] = indices[order].astype(np.int64)
    return best
