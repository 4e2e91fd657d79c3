"""Mask heads and score heads: from a window of features to a mask and to one score."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LowRankMaskHead(nn.Module):
    """1×1 convolution and ReLU, a linear code of the whole window, a linear classifier (§3.1).

    No non-linearity between code and classifier: together they are one low-rank linear layer.
    """

    def __init__(self, width: int, channels: int, cells: int, rank: int, mask_size: int) -> None:
        """Windows are (width, cells, cells); masks are (mask_size, mask_size)."""
        super().__init__()
        self.mask_size = mask_size
        self.reduce = nn.Conv2d(width, channels, 1)
        self.encode = nn.Linear(channels * cells * cells, rank)
        self.classify = nn.Linear(rank, mask_size * mask_size)

    def reduced(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, channels, cells, cells)."""
        return torch.relu(self.reduce(window))

    def code(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, rank)."""
        code: Tensor = self.encode(self.reduced(window).flatten(1))
        return code

    def from_code(self, code: Tensor) -> Tensor:
        """(N, rank) → (N, mask_size, mask_size) logits."""
        mask: Tensor = self.classify(code)
        return mask.reshape(-1, self.mask_size, self.mask_size)

    def forward(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, mask_size, mask_size) logits."""
        return self.from_code(self.code(window))


class FullMaskHead(nn.Module):
    """DeepMaskFull: every cell of the window connected to every mask pixel (§3.1, §4)."""

    def __init__(self, width: int, channels: int, cells: int, mask_size: int) -> None:
        """Windows are (width, cells, cells); masks are (mask_size, mask_size)."""
        super().__init__()
        self.mask_size = mask_size
        self.reduce = nn.Conv2d(width, channels, 1)
        self.classify = nn.Linear(channels * cells * cells, mask_size * mask_size)

    def reduced(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, channels, cells, cells)."""
        return torch.relu(self.reduce(window))

    def forward(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, mask_size, mask_size) logits."""
        mask: Tensor = self.classify(self.reduced(window).flatten(1))
        return mask.reshape(-1, self.mask_size, self.mask_size)


class ReducedScoreHead(nn.Module):
    """A linear code of the window, then 512 → 1024 → 1 with ReLU and dropout 0.5.

    Thesis head B, where the window is what the mask head reduced it to.
    """

    hidden = 512

    def __init__(self, channels: int, cells: int, score_width: int) -> None:
        """Windows are (channels, cells, cells)."""
        super().__init__()
        self.encode = nn.Linear(channels * cells**2, self.hidden)
        self.widen = nn.Linear(self.hidden, score_width)
        self.classify = nn.Linear(score_width, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, window: Tensor) -> Tensor:
        """(N, channels, cells, cells) → (N,) logits."""
        x = self.dropout(torch.relu(self.encode(window.flatten(1))))
        x = self.dropout(torch.relu(self.widen(x)))
        score: Tensor = self.classify(x)
        return score.squeeze(1)


class SeparateScoreHead(ReducedScoreHead):
    """Thesis head A: no pooling, its own 1×1 convolution and code of the window."""

    def __init__(self, width: int, channels: int, cells: int, score_width: int) -> None:
        """Windows are (width, cells, cells)."""
        super().__init__(channels, cells, score_width)
        self.reduce = nn.Conv2d(width, channels, 1)

    def forward(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N,) logits."""
        return super().forward(torch.relu(self.reduce(window)))


class PooledScoreHead(ReducedScoreHead):
    """The paper's: 2×2 max-pool of the window first (§3.1)."""

    def __init__(self, width: int, cells: int, score_width: int) -> None:
        """Windows are (width, cells, cells), cells even."""
        super().__init__(width, cells // 2, score_width)
        self.pool = nn.MaxPool2d(2)

    def forward(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N,) logits."""
        return super().forward(self.pool(window))


class SharedScoreHead(nn.Module):
    """Thesis head C: the score is read from the mask head's code, rank → score_width → 1."""

    def __init__(self, rank: int, score_width: int) -> None:
        """Codes are (rank,)."""
        super().__init__()
        self.widen = nn.Linear(rank, score_width)
        self.classify = nn.Linear(score_width, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, code: Tensor) -> Tensor:
        """(N, rank) codes → (N,) logits."""
        x = self.dropout(torch.relu(self.widen(self.dropout(code))))
        score: Tensor = self.classify(x)
        return score.squeeze(1)
