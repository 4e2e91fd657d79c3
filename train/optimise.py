"""Optimiser, learning-rate schedule and running average, as the recipe says."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.recipe import Recipe


def freeze(model: DeepMaskNetwork, recipe: Recipe) -> None:
    """Put `model` in training mode, BatchNorm on its stored statistics, the stem fixed if asked.

    A patch batch is small and its crops alike: its own statistics would be noise. Of a refined
    network only the refinement learns: the rest was trained before (thesis §3.3).
    """
    if model.refine is not None:
        model.eval().requires_grad_(False)
        model.refine.train().requires_grad_(True)
        return
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    if recipe.freeze_stem:
        for module in model.trunk.frozen_stem():
            module.requires_grad_(False)


def make_optimiser(model: DeepMaskNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """Two groups, heads and trunk, each with its factor of the learning rate in "factor"."""
    trunk = [p for p in model.trunk.parameters() if p.requires_grad]
    heads = [
        p
        for name, p in model.named_parameters()
        if not name.startswith("trunk.") and p.requires_grad
    ]
    groups = [
        {"params": heads, "factor": 1.0},
        {"params": trunk, "factor": recipe.trunk_lr},
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def learning_rate(step: int, recipe: Recipe) -> float:
    """The heads' learning rate at `step` (0 is the first)."""
    rate = recipe.lr * min(1.0, (step + 1) / max(1, recipe.warmup))
    if recipe.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return rate


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's rate to `rate` times its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


class Average:
    """Exponential running average of a model's floating-point state."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts as a copy of the model's state."""
        self._decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model; faster in the first steps, as the start counts for nothing."""
        decay = min(self._decay, (1 + step) / (10 + step))
        old, new = _floats(self.state.values()), _floats(model.state_dict().values())
        torch._foreach_lerp_(old, new, 1 - decay)


def _floats(values: Iterable[Tensor]) -> list[Tensor]:
    return [value for value in values if value.is_floating_point()]
