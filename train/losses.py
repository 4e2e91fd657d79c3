"""What a network is measured by: losses of training batches, measures of fixed ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from deepmask.networks.families import family_of
from deepmask.networks.family import TensorBatch
from deepmask.networks.network import Network
from deepmask.train.device import Hardware


class Losses(nn.Module):
    """The losses of a network by name: what data parallel training wraps."""

    def __init__(self, network: Network, hardware: Hardware, names: Iterable[str]) -> None:
        """`hardware` says in which precision the network runs, `names` which losses there are."""
        super().__init__()
        self.network = network
        self._hardware = hardware
        self._names = tuple(names)
        self._take = family_of(network.config).losses

    def forward(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Return this share's losses, in the order of their names."""
        with self._hardware.autocast():
            found = self._take(self.network, batch)
        unknown = sorted(found.keys() - set(self._names))
        if unknown:
            raise KeyError(f"losses {unknown} have no weight; those that have: {self._names}")
        return {name: found[name] for name in self._names if name in found}


class MeanLosses:
    """Means of losses, each over the steps that had it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sums = dict.fromkeys(names, (0.0, 0))

    def add(self, losses: Mapping[str, float]) -> None:
        """Count the losses of a step."""
        for name, loss in losses.items():
            total, count = self._sums[name]
            self._sums[name] = (total + loss, count + 1)

    def take(self) -> dict[str, float]:
        """Return the means, NaN for a loss that no step had, and begin anew."""
        sums, self._sums = self._sums, dict.fromkeys(self._sums, (0.0, 0))
        return {name: total / count if count else math.nan for name, (total, count) in sums.items()}


@torch.no_grad()
def validate(
    network: Network, batches: Sequence[TensorBatch], hardware: Hardware
) -> Mapping[str, float]:
    """Measure a network in evaluation mode; its modules' modes are left as they were.

    Returns the measures by name, none for a family without validation.
    """
    validation = family_of(network.config).validation
    if validation is None:
        return {}
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with hardware.autocast():
        found = validation.measure(network, (batch.to(hardware.device) for batch in batches))
    for module, mode in modes:
        module.training = mode
    return found
