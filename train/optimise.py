"""Make the recipe's optimiser, learning-rate schedule and running average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from deepmask.networks.network import ParameterGroup
from deepmask.networks.recipe import Recipe


def make_optimiser(groups: Sequence[ParameterGroup], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; each group keeps its factor of the learning rate."""
    settings = [{"params": one.parameters, "factor": one.factor} for one in groups]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(settings, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        settings, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the learning rate at `step` (0 is the first) of a group whose factor is 1."""
    rate = recipe.lr * min(1.0, (step + 1) / max(1, recipe.warmup))
    if recipe.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    if recipe.schedule == "cooldown":
        rate *= min(1.0, (recipe.steps - step) / max(1.0, recipe.cooldown * recipe.steps))
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
