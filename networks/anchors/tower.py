"""Layers that read every level of a pyramid, with weights that all levels share."""

from __future__ import annotations

from math import log
from typing import NamedTuple

from torch import Tensor, nn

from deepmask.networks.anchors.config import AnchorConfig
from deepmask.networks.feature_pyramid import start_convolutions


class Anchored(NamedTuple):
    """What a network says of the A anchors of each location, for each level, finest first.

    logits   (N, A · K, H/s, W/s): channel a · K + k is anchor a's of category k.
    offsets  (N, A · 4, H/s, W/s): channel a · 4 + c is anchor a's dx, dy, dw or dh, as
             `offsets.encode` has them.
    """

    logits: list[Tensor]
    offsets: list[Tensor]


class Tower(nn.Sequential):
    """The 3×3 convolutions of a configuration, each with ReLU."""

    def __init__(self, config: AnchorConfig) -> None:
        """Random weights."""
        layers: list[nn.Module] = []
        width, hidden = config.width, config.hidden
        for _ in range(config.layers):
            if config.separable:
                layers.append(nn.Conv2d(width, width, 3, padding=1, groups=width))
                layers.append(nn.Conv2d(width, hidden, 1))
            else:
                layers.append(nn.Conv2d(width, hidden, 3, padding=1))
            layers.append(nn.ReLU())
            width = hidden
        super().__init__(*layers)
        for layer in layers:  # of separable ones the first has no ReLU behind it
            apart = isinstance(layer, nn.Conv2d) and layer.groups > 1
            start_convolutions(layer, "linear" if apart else "relu")


def last_layer(inputs: int, outputs: int, kernel: int, prior: float = 0.5) -> nn.Conv2d:
    """Return a last convolution, whose outputs start at −log((1 − π) / π), π the `prior` (§5.3)."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, -log((1 - prior) / prior))
    return layer
