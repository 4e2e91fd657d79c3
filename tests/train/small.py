"""What tests of training share: a fresh trainer of a small network, and its losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.family import Batch
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.train.device import Hardware
from deepmask.train.trainer import Trainer

CPU = Hardware(torch.device("cpu"), bf16=False)


def fresh(config: DeepMaskConfig, recipe: DeepMaskRecipe) -> Trainer:
    torch.manual_seed(0)
    return Trainer(DeepMaskNetwork(config), recipe, 0, CPU)


def losses_of(trainer: Trainer, batch: Batch) -> tuple[float, ...]:
    trainer.train_step(batch)
    return tuple(trainer.mean_losses().values())


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)
