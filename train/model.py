"""DeepMask: one trunk, one mask head, one score head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepmask.train.config import IMAGENET_MEAN, IMAGENET_STD, TRUNK_CHANNELS, ModelConfig
from deepmask.train.heads import (
    FullMaskHead,
    LowRankMaskHead,
    PooledScoreHead,
    SharedScoreHead,
)
from deepmask.train.trunks import TRUNKS


class DeepMask(nn.Module):
    """The patch network of DeepMask §3.1 in the form its configuration describes."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Random weights; see `initialise` for an ImageNet trunk."""
        super().__init__()
        self.config = config
        width = TRUNK_CHANNELS[config.trunk]
        self.trunk = TRUNKS[config.trunk]()
        self.mask_head: LowRankMaskHead | FullMaskHead
        if config.mask_head == "low-rank":
            self.mask_head = LowRankMaskHead(
                width, config.channels, config.cells, config.rank, config.mask_size
            )
        else:
            self.mask_head = FullMaskHead(width, config.channels, config.cells, config.mask_size)
        self.score_head: SharedScoreHead | PooledScoreHead
        if config.score_head == "shared":
            self.score_head = SharedScoreHead(config.rank, config.score_width)
        else:
            self.score_head = PooledScoreHead(width, config.cells, config.score_width)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), False)

    def features(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB 0…255 → (N, C, H/16, W/16)."""
        features: Tensor = self.trunk((image - self.mean) / self.std)
        return features

    def windows(self, patches: Tensor) -> Tensor:
        """(N, 3, P, P) float RGB 0…255, P patch and context → (N, C, cells, cells)."""
        margin = self.config.margin
        inner = slice(margin, margin + self.config.cells)
        return self.features(patches)[:, :, inner, inner]

    def mask(self, windows: Tensor) -> Tensor:
        """(N, C, cells, cells) → (N, mask_size, mask_size) logits."""
        mask: Tensor = self.mask_head(windows)
        return mask

    def score(self, windows: Tensor) -> Tensor:
        """(N, C, cells, cells) → (N,) logits."""
        if isinstance(self.score_head, SharedScoreHead):
            assert isinstance(self.mask_head, LowRankMaskHead)  # ModelConfig saw to it
            windows = self.mask_head.code(windows)
        score: Tensor = self.score_head(windows)
        return score

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, P, P) float RGB 0…255 → mask logits (N, mask_size, mask_size), scores (N,)."""
        windows = self.windows(patches)
        return self.mask(windows), self.score(windows)
