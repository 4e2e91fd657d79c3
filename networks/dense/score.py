"""Score graphs: the score head at every stride-16 location of a feature map at once (§3.3).

Each graph first drops `margin` cells on every side, so that row i, column j of `score` is the
window of `cells` cells whose first cell is (margin + i, margin + j) of the map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.heads import (
    LowRankMaskHead,
    PooledScoreHead,
    ScoreHead,
    SharedScoreHead,
    WindowScoreHead,
)


class _ScoreGraph(nn.Module):
    def __init__(self, encode: nn.Conv2d, head: ScoreHead, margin: int) -> None:
        super().__init__()
        self.margin = margin
        self.encode = encode
        self.widen = convolution(head.widen, 1)
        self.classify = convolution(head.classify, 1)

    def score(self, code: Tensor) -> Tensor:
        score: Tensor = self.classify(torch.relu(self.widen(code)))
        return score


class SharedScoreGraph(_ScoreGraph):
    """features (1, C, h, w) → score (1, 1, rows, cols) logits, code (1, rank, rows, cols).

    Thesis head C. The code is what the mask graph continues from: a mask then costs
    rank·mask_size² multiply-adds (1.6 M) instead of the window's cells²·channels·rank more (8 M).

    The window's linear code stays one cells × cells convolution. For 128 channels, 10×10 cells and
    rank 512 on a 40×56 map, ONNX Runtime took 120 ms so, 137 ms as a gather of windows and one
    matrix product, 150 ms as ten products of unfolded rows (two cores, AVX-512).
    """

    def __init__(
        self, mask_head: LowRankMaskHead, score_head: SharedScoreHead, cells: int, margin: int
    ) -> None:
        super().__init__(convolution(mask_head.encode, cells), score_head, margin)
        self.reduce = mask_head.reduce

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        code: Tensor = self.encode(torch.relu(self.reduce(crop(features, self.margin))))
        return self.score(code), code


class WindowScoreGraph(_ScoreGraph):
    """features (1, C, h, w) → score (1, 1, rows, cols) logits: thesis heads A and B."""

    def __init__(
        self, reduce: nn.Conv2d, score_head: WindowScoreHead, cells: int, margin: int
    ) -> None:
        """`reduce` is the score head's own 1×1 convolution, or the mask head's."""
        super().__init__(convolution(score_head.encode, cells), score_head, margin)
        self.reduce = reduce

    def forward(self, features: Tensor) -> Tensor:
        code = self.encode(torch.relu(self.reduce(crop(features, self.margin))))
        return self.score(torch.relu(code))


class PooledScoreGraph(_ScoreGraph):
    """features (1, C, h, w) → score (1, 1, rows, cols) logits.

    In place of OverFeat's four shifted pools (§3.3), one 2×2 pool at stride 1 and dilation 2: the
    cells that a window's stride-2 pool yields are every second cell of that map. On a 40×56 map of
    the 224 px model ONNX Runtime took 175 ms so, and 190 ms by shifts.
    """

    def __init__(self, score_head: PooledScoreHead, cells: int, margin: int) -> None:
        """`cells` is even."""
        super().__init__(convolution(score_head.encode, cells // 2, dilation=2), score_head, margin)

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.max_pool2d(crop(features, self.margin), 2, stride=1)
        return self.score(torch.relu(self.encode(pooled)))


def crop(features: Tensor, margin: int) -> Tensor:
    """Return a map (1, C, h, w) without `margin` cells on each side."""
    return features[:, :, margin:-margin, margin:-margin] if margin else features


def convolution(linear: nn.Linear, cells: int, dilation: int = 1) -> nn.Conv2d:
    """Return a linear layer on flattened (C, cells, cells) windows as a valid convolution."""
    channels = linear.in_features // cells**2
    conv = nn.Conv2d(channels, linear.out_features, cells, dilation=dilation, device="meta")
    conv.weight = nn.Parameter(linear.weight.detach().view(-1, channels, cells, cells))
    conv.bias = nn.Parameter(linear.bias.detach())
    return conv.requires_grad_(False)
