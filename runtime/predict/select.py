"""Choose the best locations of all views and grids before any mask is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import log2, prod, sqrt

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.manifest import Grid
from deepmask.runtime.views.grids import window_boxes
from deepmask.runtime.views.views import View


@dataclass(frozen=True)
class ScoreMap:
    """The logits (scores, rows, cols) of one grid over one view, given by their indices.

    A window has one score, or one for each category.
    delta  (4, rows, cols) what moves the windows, see `moved_boxes`; None: nothing does.
    """

    view: int
    grid: int
    logits: npt.NDArray[np.float32]
    delta: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Selection:
    """N locations, best first: indices of view and grid, row and column there, logit, category.

    The logit is that of the score map with the prior of sizes, or the rank that took its place. The
    category is 0 where a window has one score.
    """

    view: npt.NDArray[np.int64]
    grid: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    logit: npt.NDArray[np.float32]
    category: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.logit)

    def boxes(self, views: Sequence[View], grids: Sequence[Grid]) -> npt.NDArray[np.float64]:
        """Return the windows in the picture: (N, 4) top, left, height, width in pixels."""
        of_grid = [grids[index] for index in self.grid.tolist()]
        of_view = [views[index] for index in self.view.tolist()]
        return window_boxes(self.row, self.col, of_grid, of_view)

    @staticmethod
    def joined(parts: Sequence[Selection]) -> Selection:
        """Return the locations of several, one after another."""
        names = [item.name for item in fields(Selection)]
        return Selection(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    def only(self, chosen: npt.NDArray[np.int64]) -> Selection:
        """Return some of the locations, in their order."""
        return Selection(*(getattr(self, item.name)[chosen] for item in fields(self)))


def weigh_sizes(
    maps: Sequence[ScoreMap], views: Sequence[View], grids: Sequence[Grid], prior: float
) -> list[ScoreMap]:
    """Add `prior` to the logits for each octave that a window is larger in the picture.

    Small windows are many and as confident as large ones: by raw logits (§3.3), parts and small
    things crowd whole objects out of the top of the list.
    """
    sides = [sqrt(prod(grid.sides)) for grid in grids]
    weighed = []
    for one in maps:
        octaves = log2(views[one.view].factor) - log2(sides[one.grid] / sides[0])
        weighed.append(replace(one, logits=one.logits - np.float32(prior * octaves)))
    return weighed


def select_best(maps: Sequence[ScoreMap], count: int) -> Selection:
    """Return the `count` locations of the highest logits.

    Equal logits are ordered by map, category, row and column, so that ties never depend on the
    machine.
    """
    logits = np.concatenate([np.empty(0, np.float32), *(one.logits.ravel() for one in maps)])
    chosen = _best_indices(logits, count)
    ends = np.cumsum([one.logits.size for one in maps])
    at = np.searchsorted(ends, chosen, side="right")
    of_map = [(one.view, one.grid, one.logits.size, *one.logits.shape[1:]) for one in maps]
    view, grid, size, rows, cols = np.array(of_map, np.int64)[at].T
    within: npt.NDArray[np.int64] = chosen - (ends[at] - size)
    category, cell = np.divmod(within, np.maximum(rows * cols, 1))
    return Selection(view, grid, cell // cols, cell % cols, logits[chosen], category)


def select_by_rank(
    selection: Selection, ranks: npt.NDArray[np.float32], count: int
) -> tuple[Selection, npt.NDArray[np.int64]]:
    """Return the `count` locations of the highest ranks, and their indices in `selection`.

    ranks: (N,) logits, which replace the first ones. Equal ranks keep their order.
    """
    order = _best_indices(ranks, count)
    return replace(selection.only(order), logit=ranks[order]), order


def _best_indices(logits: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Return the indices of the `count` largest, descending; of equals the lower comes first."""
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
