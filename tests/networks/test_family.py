"""Batches that are dataclasses of tensors, and what a network is trained by if it says nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from deepmask.networks.config import NetworkConfig
from deepmask.networks.family import TensorBatch
from deepmask.networks.network import Network, train_everything
from deepmask.networks.recipe import Recipe


@dataclass(frozen=True)
class Pair(TensorBatch):
    first: Tensor
    second: Tensor
    count: int


def test_every_tensor_of_a_batch_travels_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Pair(torch.ones(2), torch.zeros(3), 5)
    there = batch.to(torch.device("meta"))
    assert type(there) is Pair
    assert (there.first.device.type, there.second.device.type, there.count) == ("meta", "meta", 5)
    pinned: list[Tensor] = []

    def pin_memory(tensor: Tensor) -> Tensor:
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
    assert batch.pinned() == batch
    assert [id(one) for one in pinned] == [id(batch.first), id(batch.second)]


class Small(Network):
    def __init__(self) -> None:
        super().__init__()
        self.config = NetworkConfig()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout())


def test_by_default_all_learns_but_statistics() -> None:
    network = Small().eval()
    (group,) = train_everything(network, Recipe())
    assert [id(p) for p in group.parameters] == [id(p) for p in network.parameters()]
    assert group.factor == 1
    modes = [(type(one).__name__, one.training) for one in network.layers]
    assert modes == [("Conv2d", True), ("BatchNorm2d", False), ("Dropout", True)]
    assert network.pretrained_part() is None
