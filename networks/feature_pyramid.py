"""Feature pyramids (T.-Y. Lin's thesis §4.3, chapter 5) over a trunk's maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TopDown(nn.Module):
    """Maps of one width from a trunk's maps, each of twice the stride of the one before (§4.3).

    Lateral 1×1 convolutions, added from the coarsest map on, and a 3×3 convolution on each sum.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        """`widths`: of the trunk's maps, finest first; `width`: of every level (d in §4.3)."""
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)
        self.merge = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in widths)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(N, C, h, w) of each stride → as many maps (N, width, h, w)."""
        merged: list[Tensor] = []
        above: Tensor | None = None
        for lateral, bottom_up in zip(reversed(self.lateral), reversed(maps), strict=True):
            x = lateral(bottom_up)
            if above is not None:
                x = x + F.interpolate(above, scale_factor=2.0, mode="nearest")
            merged.insert(0, x)
            above = x
        return [conv(x) for conv, x in zip(self.merge, merged, strict=True)]


class FeaturePyramid(TopDown):
    """Maps of one width at strides 8 to 128 from a trunk's maps at strides 8, 16 and 32.

    ReLU after each, because everything that reads a level is convolutional too. Strides 64 and 128
    are convolutions of the level before. Their kernel is 4×4 so that a coarse cell is centred on
    its four finer ones (3×3 would be off by half a finer cell).
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        """`widths`: the trunk's at strides 8, 16 and 32; `width`: every level's."""
        super().__init__(widths, width)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 4, 2, padding=1) for _ in range(2))

    def start(self, deviations: Sequence[float]) -> None:
        """Draw weights for maps of these standard deviations, so that all levels start alike."""
        start_convolutions(self.down, "relu")
        start_convolutions(self.merge, "linear")  # reads no ReLU
        start_readers(self.lateral, deviations)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(N, C, H/8, W/8), /16, /32 → five maps (N, width, H/s, W/s), s = 8, 16, 32, 64, 128.

        H and W are multiples of 128.
        """
        levels = [torch.relu(level) for level in super().forward(maps)]
        for conv in self.down:
            levels.append(torch.relu(conv(levels[-1])))
        return levels


def start_readers(layers: Iterable[nn.Module], deviations: Sequence[float]) -> None:
    """Draw weights of 1×1 convolutions that read maps of these standard deviations."""
    for layer, deviation in zip(layers, deviations, strict=True):
        assert isinstance(layer, nn.Conv2d)
        nn.init.normal_(layer.weight, std=layer.in_channels**-0.5 / deviation)


def start_convolutions(layers: nn.Module, nonlinearity: Literal["linear", "relu"]) -> None:
    """Draw weights of all convolutions in a module; biases are 0."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


class ProposalPyramid(TopDown):
    """P2 … P6 (§4.4.1): P6 is every second cell of P5."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(N, C, H/4, W/4), /8, /16, /32 → five maps (N, width, H/s, W/s), s = 4 to 64.

        H and W are multiples of 64.
        """
        levels = super().forward(maps)
        return [*levels, levels[-1][:, :, ::2, ::2]]


class RetinaPyramid(TopDown):
    """P3 … P7 (chapter 5): P6 is a 3×3 convolution of the trunk's last map, P7 one of P6's ReLU."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        """`widths`: the trunk's at strides 8, 16 and 32; `width`: every level's."""
        super().__init__(widths, width)
        self.down = nn.ModuleList(
            nn.Conv2d(inputs, width, 3, 2, padding=1) for inputs in (widths[-1], width)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(N, C, H/8, W/8), /16, /32 → five maps (N, width, H/s, W/s), s = 8 to 128.

        H and W are multiples of 128.
        """
        p6 = self.down[0](maps[-1])
        return [*super().forward(maps), p6, self.down[1](torch.relu(p6))]
