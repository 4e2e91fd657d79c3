"""Scores become expected IoUs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmask.evaluate.calibration import calibration_table, reliability
from deepmask.runtime.predict.calibrate import calibrate


@given(st.integers(0, 2**32 - 1), st.integers(50, 3000))
def test_a_table_is_one_that_a_model_may_have(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    table = calibration_table(random.beta(0.3, 2, count), random.random(count))
    scores, values = np.array(table).T
    assert (np.diff(scores) > 0).all()
    assert (np.diff(values) >= 0).all()
    assert 0 <= values.min() <= values.max() <= 1


def test_calibrated_scores_are_reliable() -> None:
    """Scores that are far too sure become the mean IoU of their kind."""
    random = np.random.default_rng(0)
    scores = random.random(50_000)
    ious = np.clip(0.6 * scores**3 + random.normal(0, 0.1, len(scores)), 0, 1)
    found = calibrate(scores, calibration_table(scores, ious))
    for score, iou, count in reliability(found, ious):
        assert count < 100 or score == pytest.approx(iou, abs=0.02)
    assert max(score - iou for score, iou, _ in reliability(scores, ious)) > 0.3


def test_too_few_proposals_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        calibration_table(np.zeros(10), np.zeros(10))
