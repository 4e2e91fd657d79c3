"""Validation on fixed patches, measured against the truth itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import ScoredPatchBatches
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.train.validate import validate
from tests.train.small import CPU

Maker = Callable[..., ScoredPatchBatches]


def test_validation_of_a_perfect_network_is_one(
    maker: Maker, tiny_model: DeepMaskConfig, tiny_recipe: DeepMaskRecipe
) -> None:
    """A network that answers with the truth itself measures IoU 1 and accuracy 1."""
    batch = maker()(0)

    class Oracle(DeepMaskNetwork):
        def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
            scores = batch.labels.nan_to_num(1.0) * 2 - 1
            masks = torch.zeros(len(patches), 28, 28)
            masks[: len(batch.masks)] = batch.masks.float() * 2 - 1
            return masks, scores

    quality = validate(Oracle(tiny_model), [batch], CPU)
    assert quality == {"mask_iou": 1, "score_accuracy": 1}
