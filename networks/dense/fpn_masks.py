"""The exportable form of `fpn-masks`: one graph a picture, and one for the windows of each head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepmask.networks.dense.graphs import DenseForm, DenseGraph, DenseModel, Description
from deepmask.networks.dense.one_look import THESIS_SIDE, mask_grids, one_look
from deepmask.networks.fpn_masks import FpnMasks
from deepmask.networks.mask_levels import STRIDES, grids
from deepmask.networks.whole.masks_config import FpnMasksConfig
from deepmask.networks.window_table import Windows, gather_windows, layout_rows
from deepmask.runtime.model.manifest import VIEW, WINDOWS, TensorSpec


class ScoreStage(nn.Module):
    """Everything that is dense, once a picture."""

    def __init__(self, network: FpnMasks) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W) RGB in 0…255, H and W multiples of 64 → scores, cells and their layout.

        Returns a map of logits (1, heads, h, w) for each level; `cells` (rows, width), the table of
        all levels; and `layout` (grids, 2) int64: for each grid the row of its level's cell (0, 0)
        and the pitch.
        """
        pyramid = self.network.pyramid(image)
        scores = scores_of(self.network, pyramid.levels)
        layout = layout_rows([pyramid.layout], len(self.network.heads), image.device)
        return *scores, pyramid.cells, layout


def scores_of(network: FpnMasks, levels: list[Tensor]) -> list[Tensor]:
    """Score all windows: (N, heads, h, w) logits for each level."""
    heads = [network.head(k) for k in range(len(network.heads))]
    return [torch.cat([head.scores(level) for head in heads], 1) for level in levels]


class MaskStage(nn.Module):
    """Masks for windows of one head, of any level."""

    def __init__(self, network: FpnMasks, index: int) -> None:
        """Share the parameters of a head."""
        super().__init__()
        self.head = network.head(index)

    def forward(self, cells: Tensor, layout: Tensor, locations: Tensor) -> Tensor:
        """Return mask logits (n, M, M) of `locations` (n, 3) int64: grid, row and column.

        `cells`, `layout`: see `ScoreStage`.
        """
        size = self.head.cells
        origin, pitch = layout[locations[:, 0]].unbind(1)
        corner = origin + (locations[:, 1] - size // 2) * pitch + locations[:, 2] - size // 2
        return self.head.masks(self.head.codes(gather_windows(cells, corner, pitch, size)))


def dense_fpn_masks(network: FpnMasks) -> DenseModel:
    """Return the graphs of a network in evaluation mode: scores, and the windows of each head."""
    config = network.config
    rows = grids(config.heads, config.mask_size)
    image = {"image": TensorSpec("image", "float32", (1, 3, "height", "width"))}
    scores = {
        f"score{stride}": TensorSpec(
            "score", "float32", (1, len(config.heads), f"height/{stride}", f"width/{stride}")
        )
        for stride in STRIDES
    }
    tables = {
        "cells": TensorSpec("map", "float32", ("any", config.width)),
        "layout": TensorSpec("map", "int64", (len(rows), 2)),
    }
    locations = {"locations": TensorSpec("locations", "int64", ("n", 3))}
    mask = {"mask": TensorSpec("mask", "float32", ("n", config.mask_size, config.mask_size))}
    last = tuple(f"network.heads.{k}.score.weight" for k in range(len(config.heads)))
    stage = ScoreStage(network)
    graphs = [DenseGraph("score", "score", VIEW, stage, image, scores | tables, {"score": last})]
    for index, head in enumerate(config.heads):
        graphs.append(
            DenseGraph(
                f"mask-{head}",
                f"mask-{head}",
                WINDOWS,
                MaskStage(network, index),
                tables | locations,
                mask,
                {"code": ("head.code.weight",)},
                grids=tuple(grid.name for grid in rows if grid.name.endswith(f"x{head}")),
            )
        )
    return DenseModel(DenseForm(tuple(graphs), _Reference(network)))


class _Reference:
    """What the network as it is trained gives for the graphs' tensors."""

    def __init__(self, network: FpnMasks) -> None:
        self._network = network

    def __call__(self, canvas: Tensor, locations: Tensor) -> dict[str, Tensor]:
        network, size = self._network, self._network.config.mask_size
        pyramid = network.pyramid(canvas)
        scores = scores_of(network, pyramid.levels)
        masks = canvas.new_zeros(len(locations), size, size)
        count = len(network.heads)
        for index in range(count):
            mine = (locations[:, 0] % count == index).nonzero()[:, 0]
            level, i, j = locations[mine, 0] // count, locations[mine, 1], locations[mine, 2]
            windows = Windows(level, torch.zeros_like(level), i, j)
            head = network.head(index)
            masks[mine] = head.masks(network.codes(pyramid, windows, head))
        named = {f"score{stride}": one for stride, one in zip(STRIDES, scores, strict=True)}
        return {**named, "mask": masks}


def describe_fpn_masks(config: FpnMasksConfig) -> Description:
    """Return the view, the grids and the defaults."""
    return Description(
        views=one_look(THESIS_SIDE, STRIDES[-1]),
        grids=mask_grids(grids(config.heads, config.mask_size), len(config.heads)),
        threshold=0.5,
    )
