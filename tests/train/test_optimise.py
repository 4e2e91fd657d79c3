"""The learning rate of a step."""

from __future__ import annotations

import pytest

from deepmask.networks.presets import PRESETS
from deepmask.train.optimise import learning_rate


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    recipe = PRESETS["deepmask-r18"].recipe
    assert learning_rate(0, recipe) == pytest.approx(recipe.lr / recipe.warmup)
    assert learning_rate(recipe.steps - 1, recipe) < 1e-3 * recipe.lr
    assert learning_rate(10**5, PRESETS["deepmask-vgg-a"].recipe) == 0.001
