"""Mask graphs: masks of just the chosen windows.

`locations` (N, 2) int64 are (row, column) of the score map. They must lie inside it; the graphs do
not check.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepmask.networks.heads import LowRankMaskHead, MaskHead


class CodeMaskGraph(nn.Module):
    """code (1, rank, rows, cols), locations → mask (N, mask_size, mask_size) logits.

    For the score head that shares its code with the mask head: a gather and one matrix product.
    """

    def __init__(self, mask_head: LowRankMaskHead) -> None:
        """Read the classifier only; the code comes from the score graph."""
        super().__init__()
        self.mask_size = mask_head.mask_size
        self.classify = mask_head.classify

    def forward(self, code: Tensor, locations: Tensor) -> Tensor:
        mask: Tensor = self.classify(self.codes(code, locations))
        return mask.view(-1, self.mask_size, self.mask_size)

    def codes(self, code: Tensor, locations: Tensor) -> Tensor:
        """Return the codes of those windows, (N, rank)."""
        index = locations[:, 0] * code.shape[3] + locations[:, 1]
        # Columns of the code as it lies: cheaper than turning the whole map over to gather rows.
        return code.squeeze(0).flatten(1).index_select(1, index).transpose(0, 1)


class WindowMaskGraph(nn.Module):
    """features (1, C, h, w), locations → mask (N, mask_size, mask_size) logits.

    The 1×1 convolution runs once on the shared map. A window is then cells² contiguous rows of an
    (h·w, channels) map, and all windows together are one matrix product (two for the low-rank
    head); the weight's columns are permuted to that order here, once. The gathered windows take
    N·cells²·channels·4 bytes, 0.4 GB for 1000 windows of the 224 px model: callers with many
    windows pass them in batches.
    """

    offsets: Tensor

    def __init__(self, mask_head: MaskHead, cells: int, margin: int) -> None:
        """`cells` is a window's side; `margin` cells around the map are cropped."""
        super().__init__()
        self.mask_size = mask_head.mask_size
        self.reduce = mask_head.reduce
        self.classify: nn.Module
        self.has_code = isinstance(mask_head, LowRankMaskHead)
        if isinstance(mask_head, LowRankMaskHead):
            self.encode = channels_last(mask_head.encode, cells)
            self.classify = mask_head.classify
        else:
            self.encode = channels_last(mask_head.classify, cells)
            self.classify = nn.Identity()
        self.register_buffer("offsets", cell_offsets(cells, margin))

    def forward(self, features: Tensor, locations: Tensor) -> Tensor:
        mask: Tensor = self.classify(self.codes(features, locations))
        return mask.view(-1, self.mask_size, self.mask_size)

    def codes(self, features: Tensor, locations: Tensor) -> Tensor:
        """Return what the first linear layer makes of those windows: (N, rank or mask_size²)."""
        shared = torch.relu(self.reduce(features)).permute(0, 2, 3, 1)
        cells = window_cells(shared, locations, self.offsets)
        codes: Tensor = self.encode(cells.reshape(locations.shape[0], -1))
        return codes


def cell_offsets(cells: int, margin: int) -> Tensor:
    """Return rows and columns (2, cells²) of a window's cells, from its location on."""
    steps = margin + torch.arange(cells)
    return torch.cartesian_prod(steps, steps).T.contiguous()


def window_cells(maps: Tensor, locations: Tensor, offsets: Tensor) -> Tensor:
    """Return the cells of windows, (N·cells², C), of a map (1, h, w, C); see `cell_offsets`."""
    rows = locations[:, 0:1] + offsets[0:1]
    cols = locations[:, 1:2] + offsets[1:2]
    index = (rows * maps.shape[2] + cols).flatten()
    return maps.flatten(0, 2).index_select(0, index)


def channels_last(linear: nn.Linear, cells: int) -> nn.Linear:
    """Return the layer for windows flattened as (cells, cells, C) instead of (C, cells, cells)."""
    channels = linear.in_features // cells**2
    weight = linear.weight.detach().view(-1, channels, cells, cells)
    # Made on the meta device: the weights that a constructor draws are never needed.
    permuted = nn.Linear(linear.in_features, linear.out_features, device="meta")
    permuted.weight = nn.Parameter(weight.permute(0, 2, 3, 1).flatten(1))
    permuted.bias = nn.Parameter(linear.bias.detach())
    return permuted.requires_grad_(False)
