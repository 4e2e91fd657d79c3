from __future__ import annotations

import pytest
import torch

from deepmask.networks.families import build
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.train.trainer import Trainer
from tests.train.small import CPU, Fresh


@pytest.fixture
def fresh(tiny_model: DeepMaskConfig, tiny_recipe: DeepMaskRecipe) -> Fresh:
    """Return what makes a trainer of the small network, with the same random start each time."""

    def make(recipe: DeepMaskRecipe = tiny_recipe) -> Trainer:
        torch.manual_seed(0)
        return Trainer(build(tiny_model), recipe, 0, CPU)

    return make
