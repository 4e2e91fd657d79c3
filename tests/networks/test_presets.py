"""Presets: the papers' values."""

from __future__ import annotations

from deepmask.networks.presets import PRESETS


def test_paper_recipe_is_the_papers() -> None:
    recipe = PRESETS["deepmask-vgg-a"].recipe
    assert (recipe.batch, recipe.lr, recipe.momentum, recipe.weight_decay) == (32, 1e-3, 0.9, 5e-5)
    assert recipe.score_weight == 1 / 32
    assert recipe.sum_loss
    assert (recipe.jitter_shift, recipe.jitter_octaves) == (16, 0.25)
    assert (recipe.negative_shift, recipe.negative_octaves) == (32, 1)
    assert recipe.alternate
    assert recipe.optimiser == "sgd"
    assert PRESETS["deepmask-vgg-a"].config.object_size == 128
