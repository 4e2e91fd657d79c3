"""Recipes: the paper's values, and the refusal of settings that nothing can be trained with."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.presets import PRESETS

PAPER = PRESETS["deepmask-vgg-a"].recipe
NUMBERS = [item.name for item in fields(DeepMaskRecipe) if type(item.default) in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -200.0])
def test_no_number_may_be_nan_infinite_or_far_below(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name.replace('_', '-')} is {value}, it must be at"):
        replace(PAPER, **{name: value})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch": 0}, "batch is 0, it must be at least 1"),
        ({"batch": 16}, "negatives is 16, it must be below batch, 16"),
        ({"negatives": 0}, "negatives is 0, it must be at least 1"),
        ({"negatives": -1}, "negatives is -1"),
        ({"steps": 0}, "steps is 0, it must be at least 1"),
        ({"lr": 0.0}, "lr is 0"),
        ({"average": 1.0}, "average is 1"),
        ({"near_negatives": 1.5}, "at least 0 and at most 1"),
        ({"optimiser": "lion"}, "sgd or adamw"),
        ({"schedule": "step"}, "constant, cosine or cooldown"),
    ],
)
def test_settings_out_of_range_say_what_is_accepted(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        replace(PAPER, **change)
