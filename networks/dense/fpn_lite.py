"""The exportable form of `fpn-lite`: one graph a picture, one graph a slot's windows.

Two graphs and plain tensors between them: flat scores in the order of `levels.grids()` and two
tables of cells (see `window_table`). Which rows a window reads is index arithmetic that the caller
does with `window_table.Layout`; the graphs hold a Gather and dense layers only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepmask.networks.fpn_lite import FpnLite, SlotHead
from deepmask.networks.window_table import gather_windows


class ScoreStage(nn.Module):
    """Everything that is dense, once a picture."""

    def __init__(self, network: FpnLite) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(1, 3, H, W) RGB in 0…255, H and W multiples of 128 → scores and tables.

        Returns logits `objectness` and `quality`, (locations,) each: level by level from the
        finest, slot by slot, row by row; and the tables `context` and `fine`, (rows, channels).
        """
        dense = self.network.dense(image)
        objectness = torch.cat([m.flatten() for m in dense.objectness])
        quality = torch.cat([m.flatten() for m in dense.quality])
        return objectness, quality, dense.context, dense.fine


class MaskStage(nn.Module):
    """Masks and their predicted IoU for windows of one slot, of any level."""

    def __init__(self, network: FpnLite, slot: int) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network
        head = network.heads[slot]
        assert isinstance(head, SlotHead)
        self.head = head

    def forward(
        self, context: Tensor, fine: Tensor, context_at: Tensor, fine_at: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mask logits (K, M, M) and logits of their IoU (K,).

        `context`, `fine`: the tables. `context_at`, `fine_at` (K, 2) int64: the row of each
        window's top left cell in the table, and its level's pitch. `scores` (K, 2): the windows'
        objectness and quality logits.
        """
        slot = self.head.slot
        code = self.head.code(
            gather_windows(context, context_at[:, 0], context_at[:, 1], slot.context)
        )
        cells = gather_windows(fine, fine_at[:, 0], fine_at[:, 1], slot.fine)
        mask, last = self.network.draw(code, cells, self.head)
        return mask, self.network.second(code, cells, last, mask, scores, self.head)
