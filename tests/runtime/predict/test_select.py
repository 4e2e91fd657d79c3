"""The best locations over all scales."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepmask.runtime.predict.select import select_best, weigh_scales
from deepmask.runtime.views.pyramid import Level


@given(st.integers(0, 2**32 - 1), st.integers(1, 120), st.booleans())
def test_selection_is_a_full_sort_cut_short(seed: int, count: int, ties: bool) -> None:
    """Score descending, then level, row, column: also where many scores are equal."""
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=size).astype(np.float32) for size in ((3, 5), (1, 2), (6, 9))]
    if ties:
        scores = [np.round(level) for level in scores]
    ranked = sorted(
        (-float(level[row, col]), index, row, col)
        for index, level in enumerate(scores)
        for row in range(level.shape[0])
        for col in range(level.shape[1])
    )[:count]
    best = select_best(scores, count)
    found = zip(
        (-best.logit).tolist(),
        best.level.tolist(),
        best.row.tolist(),
        best.col.tolist(),
        strict=True,
    )
    assert list(found) == ranked
    assert len(best) == min(count, 15 + 2 + 54)


def test_a_prior_counts_octaves_below_scale_one() -> None:
    scores = [
        np.zeros((1, 2), np.float32),
        np.ones((2, 2), np.float32),
        np.ones((1, 1), np.float32),
    ]
    levels = [Level(factor, 1, 1, 1.0, 1.0, 1, 1, 1, 1) for factor in (0.25, 1.0, 2.0)]
    small, same, large = weigh_scales(scores, levels, 0.5)
    assert small.tolist() == [[1.0, 1.0]]
    assert same.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert large.tolist() == [[0.5]]
    assert all(score.dtype == np.float32 for score in (small, same, large))
    for score, raw in zip(weigh_scales(scores, levels, 0.0), scores, strict=True):
        np.testing.assert_array_equal(score, raw)
