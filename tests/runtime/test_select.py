"""The best locations over all scales."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepmask.runtime.select import select_best


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
