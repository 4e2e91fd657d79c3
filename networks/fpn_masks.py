"""`fpn-masks`: mask proposals of a feature pyramid, as in T.-Y. Lin's thesis (§4.6, appendix A).

Every location of P2 … P6 is a window, whose k×k cells a head makes a code of, and of it a score and
a mask. Heads are shared over levels; there is one for each size of window.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepmask.networks.feature_pyramid import TopDown
from deepmask.networks.network import Network, ParameterGroup, train_everything
from deepmask.networks.pyramid_trunks import PyramidResNet
from deepmask.networks.whole.masks_config import FpnMasksConfig
from deepmask.networks.whole.recipe import FpnMasksRecipe
from deepmask.networks.window_table import Layout, Windows, gather_windows, layout_of, table_of

#: Chance of an object among the locations that are sampled.
PRIOR = 0.25


class Pyramid(NamedTuple):
    """P2 … P6 of a batch, (N, width, h, w) each, and as a table of cells (see `window_table`)."""

    levels: list[Tensor]
    cells: Tensor
    layout: Layout


class Head(nn.Module):
    """What depends on a window's size: its cells to a code, the code to a score and a mask."""

    def __init__(self, cells: int, config: FpnMasksConfig) -> None:
        """Random weights."""
        super().__init__()
        self.cells = cells
        self.code = nn.Conv2d(config.width, config.code, cells)
        self.score = nn.Conv2d(config.code, 1, 1)
        self.mask = nn.Conv2d(config.code, config.mask_size**2, 1)
        self.mask_size = config.mask_size

    def scores(self, level: Tensor) -> Tensor:
        """(N, width, h, w) → (N, 1, h, w): logits of all windows of a level."""
        half = self.cells // 2
        padded = nn.functional.pad(level, (half, half, half, half))
        return self.score(torch.relu(self.code(padded)))  # type: ignore[no-any-return]

    def codes(self, cells: Tensor) -> Tensor:
        """(K, width, k, k) cells of windows → (K, code, 1, 1)."""
        return torch.relu(self.code(cells))

    def masks(self, codes: Tensor) -> Tensor:
        """(K, code, 1, 1) → (K, M, M) logits."""
        mask: Tensor = self.mask(codes)
        return mask.view(-1, self.mask_size, self.mask_size)


class FpnMasks(Network):
    """The network: `pyramid` once a picture; then heads, everywhere or for chosen windows."""

    config: FpnMasksConfig

    def __init__(self, config: FpnMasksConfig) -> None:
        """Random weights; scores start at the share of objects among sampled locations."""
        super().__init__()
        self.config = config
        self.trunk = PyramidResNet(config.trunk)
        self.top_down = TopDown(self.trunk.widths, config.width)
        self.heads = nn.ModuleList(Head(cells, config) for cells in config.heads)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d) and not name.startswith("trunk."):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        for head in self.heads:
            assert isinstance(head, Head)
            nn.init.normal_(head.mask.weight, std=0.01)
            nn.init.normal_(head.score.weight, std=0.01)
            assert head.score.bias is not None
            nn.init.constant_(head.score.bias, log(PRIOR / (1 - PRIOR)))

    def pretrained_part(self) -> PyramidResNet:
        return self.trunk

    def compile_parts(self) -> None:
        self.trunk.compile()
        self.top_down.compile()

    def head(self, index: int) -> Head:
        """Return a head by its place in the configuration."""
        head = self.heads[index]
        assert isinstance(head, Head)
        return head

    def pyramid(self, image: Tensor) -> Pyramid:
        """(N, 3, H, W) RGB in 0…255, H and W multiples of 64 → P2 … P6.

        P6 is every second cell of P5 (§4.3).
        """
        levels = self.top_down(self.trunk(image))
        levels.append(levels[-1][:, :, ::2, ::2])
        margin = max(self.config.heads) // 2
        return Pyramid(levels, table_of(levels, margin), layout_of(levels, margin))

    def codes(self, pyramid: Pyramid, windows: Windows, head: Head) -> Tensor:
        """Make codes of chosen windows, (K, code, 1, 1)."""
        half = head.cells // 2
        first, pitch = pyramid.layout.cell(
            windows.level, windows.picture, windows.i - half, windows.j - half
        )
        return head.codes(gather_windows(pyramid.cells, first, pitch, head.cells))


def train_fpn_masks(network: FpnMasks, recipe: FpnMasksRecipe) -> list[ParameterGroup]:
    """Put a network in training mode; return trunk and heads as groups of one learning rate."""
    train_everything(network, recipe)
    if recipe.freeze_stem:
        for parameter in network.trunk.stem_parameters():
            parameter.requires_grad_(False)
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    trunk = [p for name, p in named if name.startswith("trunk.")]
    rest = [p for name, p in named if not name.startswith("trunk.")]
    return [ParameterGroup(trunk, recipe.trunk_lr), ParameterGroup(rest)]
