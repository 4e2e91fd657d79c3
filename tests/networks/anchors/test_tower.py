"""Layers that levels share: what they consist of, and the prior they start from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from deepmask.networks.anchors.config import AnchorConfig
from deepmask.networks.anchors.tower import Tower, last_layer

CONFIG = AnchorConfig(width=6, layers=3, hidden=4)


def test_a_tower_is_3x3_convolutions_with_relu() -> None:
    tower = Tower(CONFIG)
    expected = (9 * 6 + 1) * 4 + 2 * (9 * 4 + 1) * 4
    assert sum(p.numel() for p in tower.parameters()) == expected
    assert [type(layer) for layer in tower] == [nn.Conv2d, nn.ReLU] * 3
    assert tower(torch.randn(2, 6, 5, 7)).shape == (2, 4, 5, 7)


def test_a_separable_layer_convolves_channels_apart_then_joins_them() -> None:
    tower = Tower(replace(CONFIG, separable=True))
    expected = 10 * 6 + 7 * 4 + 2 * (10 * 4 + 5 * 4)
    assert sum(p.numel() for p in tower.parameters()) == expected
    assert tower(torch.randn(2, 6, 5, 7)).shape == (2, 4, 5, 7)


@pytest.mark.parametrize("prior", [0.01, 0.5])
def test_outputs_start_at_the_prior(prior: float) -> None:
    """The last layer's bias is −log((1 − π) / π) (§5.3)."""
    layer = last_layer(4, 3, 3, prior)
    chance = torch.sigmoid(layer(torch.zeros(1, 4, 2, 2)))
    torch.testing.assert_close(chance, torch.full((1, 3, 2, 2), prior))
