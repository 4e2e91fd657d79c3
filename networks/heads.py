"""Mask heads and score heads: from a window of features to a mask and to one score."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from deepmask.networks.patches.config import DeepMaskConfig

Reading = Literal["features", "reduced", "code"]
#: What a score head may read of a window: each of them is a layer of the mask head further.
READINGS: tuple[Reading, ...] = ("features", "reduced", "code")


class MaskHead(nn.Module):
    """A 1×1 convolution with ReLU, then linear layers on the whole window.

    The first linear layer gives the window's code; no non-linearity follows it.

    layers  names of the layers in their order; the last one's inputs are the code, or, in a head of
            one linear layer, the reduced window.
    """

    layers: ClassVar[tuple[str, ...]]
    reduce: nn.Conv2d
    classify: nn.Linear
    mask_size: int

    def reduced(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, channels, cells, cells)."""
        return torch.relu(self.reduce(window))

    def code(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, …) what the first linear layer gives."""
        raise NotImplementedError

    def from_code(self, code: Tensor) -> Tensor:
        """(N, …) codes → (N, mask_size, mask_size) logits."""
        raise NotImplementedError

    def read(self, what: Reading, window: Tensor) -> Tensor:
        """Return what a score head reads of windows, (N, width, cells, cells) features."""
        if what == "features":
            return window
        return self.reduced(window) if what == "reduced" else self.code(window)

    def forward(self, window: Tensor) -> Tensor:
        """(N, width, cells, cells) features → (N, mask_size, mask_size) logits."""
        return self.from_code(self.code(window))


class LowRankMaskHead(MaskHead):
    """A linear code of the window, (N, rank), and a linear classifier (DeepMask §3.1).

    Together they are one low-rank linear layer.
    """

    layers = ("reduce", "encode", "classify")

    def __init__(self, width: int, channels: int, cells: int, rank: int, mask_size: int) -> None:
        """Windows are (width, cells, cells); masks are (mask_size, mask_size)."""
        super().__init__()
        self.mask_size = mask_size
        self.reduce = nn.Conv2d(width, channels, 1)
        self.encode = nn.Linear(channels * cells * cells, rank)
        self.classify = nn.Linear(rank, mask_size * mask_size)

    def code(self, window: Tensor) -> Tensor:
        code: Tensor = self.encode(self.reduced(window).flatten(1))
        return code

    def from_code(self, code: Tensor) -> Tensor:
        mask: Tensor = self.classify(code)
        return mask.reshape(-1, self.mask_size, self.mask_size)


class FullMaskHead(MaskHead):
    """DeepMaskFull: every cell of the window connected to every mask pixel (§3.1, §4).

    The code is the mask itself, row by row: (N, mask_size²) logits.
    """

    layers = ("reduce", "classify")

    def __init__(self, width: int, channels: int, cells: int, mask_size: int) -> None:
        """Windows are (width, cells, cells); masks are (mask_size, mask_size)."""
        super().__init__()
        self.mask_size = mask_size
        self.reduce = nn.Conv2d(width, channels, 1)
        self.classify = nn.Linear(channels * cells * cells, mask_size * mask_size)

    def code(self, window: Tensor) -> Tensor:
        code: Tensor = self.classify(self.reduced(window).flatten(1))
        return code

    def from_code(self, code: Tensor) -> Tensor:
        return code.reshape(-1, self.mask_size, self.mask_size)


class ScoreHead(nn.Module):
    """Gives a window its score.

    reads  what of the window its input is, see `MaskHead.read`.
    first  name of the layer that this input comes to first.
    """

    reads: ClassVar[Reading]
    first: ClassVar[str]
    widen: nn.Linear
    classify: nn.Linear


class WindowScoreHead(ScoreHead):
    """A linear code of a window, then 512 → score_width → 1 with ReLU and dropout 0.5."""

    hidden = 512

    def __init__(self, inputs: int, score_width: int) -> None:
        """`inputs` are the values of a window that the first linear layer sees."""
        super().__init__()
        self.encode = nn.Linear(inputs, self.hidden)
        self.widen = nn.Linear(self.hidden, score_width)
        self.classify = nn.Linear(score_width, 1)
        self.dropout = nn.Dropout(0.5)

    def prepared(self, window: Tensor) -> Tensor:
        """(N, …) what the head reads → (N, …) what its linear layers see."""
        return window

    def forward(self, window: Tensor) -> Tensor:
        """(N, …) what the head reads → (N,) logits."""
        x = self.dropout(torch.relu(self.encode(self.prepared(window).flatten(1))))
        x = self.dropout(torch.relu(self.widen(x)))
        score: Tensor = self.classify(x)
        return score.squeeze(1)


class ReducedScoreHead(WindowScoreHead):
    """Thesis head B: on the window as the mask head reduced it, (channels, cells, cells)."""

    reads, first = "reduced", "encode"

    def __init__(self, channels: int, cells: int, score_width: int) -> None:
        super().__init__(channels * cells**2, score_width)


class SeparateScoreHead(WindowScoreHead):
    """Thesis head A: its own 1×1 convolution of the features, (width, cells, cells), no pooling."""

    reads, first = "features", "reduce"

    def __init__(self, width: int, channels: int, cells: int, score_width: int) -> None:
        super().__init__(channels * cells**2, score_width)
        self.reduce = nn.Conv2d(width, channels, 1)

    def prepared(self, window: Tensor) -> Tensor:
        return torch.relu(self.reduce(window))


class PooledScoreHead(WindowScoreHead):
    """The paper's: 2×2 max-pool of the features, (width, cells, cells), cells even (§3.1)."""

    reads, first = "features", "encode"

    def __init__(self, width: int, cells: int, score_width: int) -> None:
        super().__init__(width * (cells // 2) ** 2, score_width)
        self.pool = nn.MaxPool2d(2)

    def prepared(self, window: Tensor) -> Tensor:
        pooled: Tensor = self.pool(window)
        return pooled


class SharedScoreHead(ScoreHead):
    """Thesis head C: the score is read from the mask head's code, rank → score_width → 1."""

    reads, first = "code", "widen"

    def __init__(self, rank: int, score_width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(rank, score_width)
        self.classify = nn.Linear(score_width, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, code: Tensor) -> Tensor:
        """(N, rank) codes → (N,) logits."""
        x = self.dropout(torch.relu(self.widen(self.dropout(code))))
        score: Tensor = self.classify(x)
        return score.squeeze(1)


def make_mask_head(config: DeepMaskConfig) -> MaskHead:
    """Return the mask head that a configuration names."""
    width, channels, cells = config.features, config.channels, config.cells
    if config.mask_head == "low-rank":
        return LowRankMaskHead(width, channels, cells, config.rank, config.mask_size)
    return FullMaskHead(width, channels, cells, config.mask_size)


def make_score_head(config: DeepMaskConfig) -> ScoreHead:
    """Return the score head that a configuration names."""
    width, channels, cells = config.features, config.channels, config.cells
    if config.score_head == "pooled":
        return PooledScoreHead(width, cells, config.score_width)
    if config.score_head == "separate":
        return SeparateScoreHead(width, channels, cells, config.score_width)
    if config.score_head == "reduced":
        return ReducedScoreHead(channels, cells, config.score_width)
    return SharedScoreHead(config.rank, config.score_width)
