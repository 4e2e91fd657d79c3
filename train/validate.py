"""Validation on fixed batches, by the measures of the network's family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from deepmask.networks.families import family_of
from deepmask.networks.family import Batch
from deepmask.networks.network import Network
from deepmask.train.device import Hardware


@torch.no_grad()
def validate(network: Network, batches: Sequence[Batch], hardware: Hardware) -> Mapping[str, float]:
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
