"""The best locations over all views and grids."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from deepmask.runtime.model.manifest import Grid
from deepmask.runtime.predict.select import ScoreMap, select_best, weigh_sizes
from deepmask.runtime.views.views import View


def grid_of(window: int, stride: int = 16) -> Grid:
    return Grid(f"of {window}", "score", 0, stride, window, 16, 0.0)


def view_of(factor: float) -> View:
    return View(factor, 1, 1, factor, factor, 1, 1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.booleans())
def test_selection_is_a_full_sort_cut_short(seed: int, count: int, ties: bool) -> None:
    """Score descending, then view, grid, row, column: also where many scores are equal."""
    rng = np.random.default_rng(seed)
    shapes = {(0, 0): (3, 5), (0, 1): (1, 2), (1, 0): (6, 9), (1, 1): (4, 4)}
    maps = [
        ScoreMap(view, grid, rng.normal(size=size).astype(np.float32))
        for (view, grid), size in shapes.items()
    ]
    if ties:
        maps = [ScoreMap(one.view, one.grid, np.round(one.logits)) for one in maps]
    ranked = sorted(
        (-float(one.logits[row, col]), one.view, one.grid, row, col)
        for one in maps
        for row in range(one.logits.shape[0])
        for col in range(one.logits.shape[1])
    )[:count]
    best = select_best(maps, count)
    columns = (-best.logit, best.view, best.grid, best.row, best.col)
    assert list(zip(*map(np.ndarray.tolist, columns), strict=True)) == ranked
    assert len(best) == min(count, 15 + 2 + 54 + 16)


def test_a_prior_counts_octaves_below_scale_one() -> None:
    maps = [
        ScoreMap(0, 0, np.zeros((1, 2), np.float32)),
        ScoreMap(1, 0, np.ones((2, 2), np.float32)),
        ScoreMap(2, 0, np.ones((1, 1), np.float32)),
    ]
    views = [view_of(factor) for factor in (0.25, 1.0, 2.0)]
    small, same, large = weigh_sizes(maps, views, [grid_of(64)], 0.5)
    assert small.logits.tolist() == [[1.0, 1.0]]
    assert same.logits.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert large.logits.tolist() == [[0.5]]
    assert all(one.logits.dtype == np.float32 for one in (small, same, large))
    unweighed = weigh_sizes(maps, views, [grid_of(64)], 0.0)
    for found, raw in zip(unweighed, maps, strict=True):
        assert (found.view, found.grid) == (raw.view, raw.grid)
        assert_array_equal(found.logits, raw.logits)


def test_a_prior_counts_octaves_of_larger_windows_too() -> None:
    """A window of twice the size at scale 1 is as large in the picture as one at half the scale."""
    views, grids = [view_of(0.5), view_of(1.0)], [grid_of(64), grid_of(128), grid_of(32)]
    zero = np.zeros((1, 1), np.float32)
    maps = [ScoreMap(view, grid, zero) for view in range(2) for grid in range(3)]
    found = [float(one.logits[0, 0]) for one in weigh_sizes(maps, views, grids, 0.5)]
    assert found == [0.5, 1.0, 0.0, 0.0, 0.5, -0.5]
