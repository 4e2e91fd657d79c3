"""The exportable form of `fpn-lite`: one graph a picture, and one for the windows of each slot.

Between them go plain tensors: tables of cells (see `window_table`), and where in them each grid's
level begins. The graphs hold a Gather and dense layers only.
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.dense.graphs import (
    DenseForm,
    DenseGraph,
    DenseModel,
    Description,
)
from deepmask.networks.dense.one_look import LIGHT_SIDE, mask_grids, one_look
from deepmask.networks.fpn_lite import Dense, Features, FpnLite, SlotHead
from deepmask.networks.levels import SLOTS, STRIDES, grids
from deepmask.networks.whole.config import FpnLiteConfig
from deepmask.networks.window_table import Windows, gather_windows, layout_rows, table_of
from deepmask.runtime.model.manifest import VIEW, WINDOWS, TensorSpec

#: Probability above which a pixel belongs to a mask, chosen on validation pictures.
THRESHOLD = 0.45
SUFFIXES = "ab"


class ScoreStage(nn.Module):
    """Everything that is dense, once a picture."""

    def __init__(self, network: FpnLite) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W) RGB in 0…255, H and W multiples of 128 → scores, tables and their layout.

        Returns a map of logits (1, slots, h, w) for each level, which choose windows; the tables
        `context` and `fine` (rows, channels); `first` (rows, 4), both first logits of each slot, in
        the rows of `context`; and `layout` (grids, 4) int64: for each grid the row of its level's
        cell (0, 0) and the pitch, in `context` and in `fine`.
        """
        return self.read(self.network.features(image), image.device)

    def read(self, features: Features, device: torch.device) -> tuple[Tensor, ...]:
        """Return the same of maps that are there."""
        dense = self.network.read(features)
        both = list(zip(dense.objectness, dense.quality, strict=True))
        scores = [first_score(objectness, quality) for objectness, quality in both]
        pairs = [torch.stack(pair, 2).flatten(1, 2) for pair in both]
        first = table_of(pairs, dense.context_layout.margin)
        layouts = [dense.context_layout, dense.fine_layout]
        layout = layout_rows(layouts, len(SLOTS), device)
        return *scores, dense.context, dense.fine, first, layout


def first_score(objectness: Tensor, quality: Tensor) -> Tensor:
    """Join both first logits: the logit of the geometric mean p of their probabilities."""
    odds = _log_sum_exp(-objectness, -quality, -objectness - quality)  # log(1 / p² − 1)
    return F.softplus(F.softplus(odds) / 2) - odds


def final_score(objectness: Tensor, quality: Tensor, iou: Tensor) -> Tensor:
    """Join the first score and the second look's: the logit of their geometric mean p."""
    first = _log_sum_exp(-objectness, -quality, -objectness - quality)
    last = _log_sum_exp(log(2) - iou, -2 * iou)
    odds = _log_sum_exp(first, last, first + last)  # log(1 / p⁴ − 1)
    inverse = F.softplus(odds)  # log(1 / p⁴)
    return F.softplus(inverse / 4) + F.softplus(inverse / 2) - odds


def _log_sum_exp(*logs: Tensor) -> Tensor:
    # In logarithms no probability near 0 or 1 is rounded, in float16 neither.
    return torch.logsumexp(torch.stack(logs), 0)


class MaskStage(nn.Module):
    """Masks and their rank for windows of one slot, of any level."""

    def __init__(self, network: FpnLite, slot: int) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network
        self.slot = slot
        head = network.heads[slot]
        assert isinstance(head, SlotHead)
        self.head = head

    def forward(
        self, context: Tensor, fine: Tensor, first: Tensor, layout: Tensor, locations: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mask logits (n, M, M) and the logits that rank the windows (n,).

        `context`, `fine`, `first`, `layout`: see `ScoreStage`. `locations` (n, 3) int64: grid, row
        and column.
        """
        slot = self.head.slot
        row, col = locations[:, 1], locations[:, 2]
        origin, pitch, fine_origin, fine_pitch = layout[locations[:, 0]].unbind(1)
        middle = origin + row * pitch + col
        # The location is a corner of four fine cells; this is the one at its lower right.
        fine_middle = fine_origin + (2 * row + 1) * fine_pitch + 2 * col + 1
        corner = middle - slot.context // 2 * (pitch + 1)
        fine_corner = fine_middle - slot.fine // 2 * (fine_pitch + 1)
        code = self.head.code(gather_windows(context, corner, pitch, slot.context))
        cells = gather_windows(fine, fine_corner, fine_pitch, slot.fine)
        mask, last = self.network.draw(code, cells, self.head)
        scores = F.embedding(middle, first)[:, 2 * self.slot : 2 * self.slot + 2]
        iou = self.network.second(code, cells, last, mask, scores, self.head)
        return mask, final_score(scores[:, 0], scores[:, 1], iou)


def dense_fpn_lite(network: FpnLite) -> DenseModel:
    """Return the graphs of a network in evaluation mode: scores, and the windows of each slot."""
    config = network.config
    image = {"image": TensorSpec("image", "float32", (1, 3, "height", "width"))}
    scores = {
        f"score{stride}": TensorSpec(
            "score", "float32", (1, len(SLOTS), f"height/{stride}", f"width/{stride}")
        )
        for stride in STRIDES
    }
    tables = {
        "context": TensorSpec("map", "float32", ("any", config.context)),
        "fine": TensorSpec("map", "float32", ("any", config.fine)),
        "first": TensorSpec("map", "float32", ("any", 2 * len(SLOTS))),
        "layout": TensorSpec("map", "int64", (len(grids()), 4)),
    }
    locations = {"locations": TensorSpec("locations", "int64", ("n", 3))}
    layers = {"score": ("network.score.weight",)}
    graphs = [
        DenseGraph("score", "score", VIEW, ScoreStage(network), image, scores | tables, layers)
    ]
    for slot, suffix in enumerate(SUFFIXES):
        size = SLOTS[slot].mask
        made = {
            "mask": TensorSpec("mask", "float32", ("n", size, size)),
            "rank": TensorSpec("rank", "float32", ("n",)),
        }
        graphs.append(
            DenseGraph(
                f"mask-{suffix}",
                f"mask-{suffix}",
                WINDOWS,
                MaskStage(network, slot),
                tables | locations,
                made,
                {"code": ("head.encode.weight",)},
                grids=tuple(grid.name for grid in grids() if grid.name.endswith(suffix)),
            )
        )
    return DenseModel(DenseForm(tuple(graphs), _Reference(network)))


class _Reference:
    """What the network as it is trained gives for the graphs' tensors."""

    def __init__(self, network: FpnLite) -> None:
        self._network = network

    def __call__(self, canvas: Tensor, locations: Tensor) -> dict[str, Tensor]:
        dense = self._network.dense(canvas)
        pairs = zip(STRIDES, dense.objectness, dense.quality, strict=True)
        found = {f"score{stride}": first_score(o, q) for stride, o, q in pairs}
        size = SLOTS[0].mask
        masks = dense.fine.new_zeros(len(locations), size, size)
        ranks = dense.fine.new_zeros(len(locations))
        for slot in range(len(SLOTS)):
            mine = (locations[:, 0] % len(SLOTS) == slot).nonzero()[:, 0]
            level, i, j = locations[mine, 0] // len(SLOTS), locations[mine, 1], locations[mine, 2]
            windows = Windows(level, torch.zeros_like(level), i, j)
            scores = _scores_at(dense, windows, slot)
            masks[mine], iou = self._network.masks(dense, windows, slot, scores)
            ranks[mine] = final_score(scores[:, 0], scores[:, 1], iou)
        return {**found, "mask": masks, "rank": ranks}


def _scores_at(dense: Dense, windows: Windows, slot: int) -> Tensor:
    scores = dense.fine.new_zeros(len(windows.level), 2)
    for k, (level, i, j) in enumerate(
        zip(windows.level.tolist(), windows.i.tolist(), windows.j.tolist(), strict=True)
    ):
        scores[k, 0] = dense.objectness[level][0, slot, i, j]
        scores[k, 1] = dense.quality[level][0, slot, i, j]
    return scores


def describe_fpn_lite(config: FpnLiteConfig) -> Description:
    """Return the view, the grids and the defaults, which were chosen on validation pictures."""
    return Description(
        views=one_look(LIGHT_SIDE, STRIDES[-1]),
        grids=mask_grids(grids(), len(SLOTS)),
        threshold=THRESHOLD,
        overlap=0.6,
    )
