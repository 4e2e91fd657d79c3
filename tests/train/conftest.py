"""A network and a recipe small enough to train in a test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepmask.networks.config import ModelConfig
from deepmask.train.recipe import RECIPES, Recipe


@pytest.fixture
def tiny_model() -> ModelConfig:
    """A network small enough to train in a test."""
    return ModelConfig(
        patch=64,
        context=16,
        trunk="resnet18",
        channels=8,
        mask_head="low-rank",
        rank=16,
        mask_size=14,
        score_head="shared",
        score_width=16,
    )


@pytest.fixture
def tiny_refined(tiny_model) -> ModelConfig:
    """The same with a refinement of four levels, to half of the patch."""
    return replace(
        tiny_model, refine_widths=(8, 6, 4, 4, 4), skip_widths=(8, 6, 6, 4), sharp_size=32
    )


@pytest.fixture
def tiny_recipe() -> Recipe:
    """The small preset's recipe with few, small batches and no limit on magnification."""
    return replace(
        RECIPES["deepmask-r18"],
        steps=6,
        batch=8,
        negatives=3,
        loss_size=28,
        negative_shift=16.0,
        max_octaves=6.0,
        warmup=1,
    )
