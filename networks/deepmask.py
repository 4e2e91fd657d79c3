"""DeepMask: one trunk, one mask head, one score head; SharpMask: refinement on top."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepmask.networks.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from deepmask.networks.heads import (
    FullMaskHead,
    LowRankMaskHead,
    PooledScoreHead,
    ReducedScoreHead,
    SeparateScoreHead,
    SharedScoreHead,
)
from deepmask.networks.refinement import Refinement
from deepmask.networks.trunks import TRUNKS


class DeepMaskNetwork(nn.Module):
    """The patch network of DeepMask §3.1 or the thesis, in the form its configuration describes.

    A refined network has two masks of a window: the mask head's, coarse and cheap, and the refined
    one, on which its score has no bearing and which has none on the score.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Random weights; see `initialise` for an ImageNet trunk."""
        super().__init__()
        self.config = config
        self.trunk = TRUNKS[config.trunk](config.padding)
        self.mask_head = _mask_head(config)
        self.score_head = _score_head(config)
        self.refine = Refinement(config) if config.refined else None
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), False)

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) float RGB 0…255 → the trunk's maps at strides 2, 4, …; features last."""
        stages: tuple[Tensor, ...] = self.trunk.stages((image - self.mean) / self.std)
        return stages

    def features(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB 0…255 → (N, C, H/stride, W/stride)."""
        features: Tensor = self.trunk((image - self.mean) / self.std)
        return features

    def windows(self, patches: Tensor) -> Tensor:
        """(N, 3, P, P) float RGB 0…255, P patch and context → (N, C, cells, cells)."""
        return self.inner(self.features(patches))

    def mask(self, windows: Tensor) -> Tensor:
        """(N, C, cells, cells) → (N, mask_size, mask_size) logits, the mask head's."""
        mask: Tensor = self.mask_head(windows)
        return mask

    def score(self, windows: Tensor) -> Tensor:
        """(N, C, cells, cells) → (N,) logits."""
        if isinstance(self.score_head, SharedScoreHead):
            assert isinstance(self.mask_head, LowRankMaskHead)  # ModelConfig saw to it
            windows = self.mask_head.code(windows)
        elif self.config.score_head == "reduced":
            windows = self.mask_head.reduced(windows)
        score: Tensor = self.score_head(windows)
        return score

    def masks(self, stages: Sequence[Tensor]) -> Tensor:
        """The trunk's maps of N patches with context → (N, S, S) logits, S `output_size`.

        The refined masks of a network that has them, the mask head's of any other.
        """
        windows = self.inner(stages[-1])
        if self.refine is None:
            return self.mask(windows)
        assert isinstance(self.mask_head, LowRankMaskHead)  # ModelConfig saw to it
        shared = [self.inner(one) for one in self.refine.shared(stages)]
        masks: Tensor = self.refine(self.mask_head.code(windows), shared)
        return masks

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, P, P) float RGB 0…255 → mask logits (N, S, S), see `masks`, and scores (N,)."""
        stages = self.stages(patches)
        return self.masks(stages), self.score(self.inner(stages[-1]))

    def inner(self, features: Tensor) -> Tensor:
        """(N, C, P/s, P/s) at any stride s → (N, C, patch/s, patch/s): without the context."""
        stride = self.config.input_size // features.shape[-1]
        margin, size = self.config.context // stride, self.config.patch // stride
        return features[:, :, margin : margin + size, margin : margin + size]


def _mask_head(config: ModelConfig) -> LowRankMaskHead | FullMaskHead:
    width, channels, cells = config.features, config.channels, config.cells
    if config.mask_head == "low-rank":
        return LowRankMaskHead(width, channels, cells, config.rank, config.mask_size)
    return FullMaskHead(width, channels, cells, config.mask_size)


def _score_head(config: ModelConfig) -> SharedScoreHead | ReducedScoreHead:
    width, channels, cells = config.features, config.channels, config.cells
    if config.score_head == "shared":
        return SharedScoreHead(config.rank, config.score_width)
    if config.score_head == "pooled":
        return PooledScoreHead(width, cells, config.score_width)
    if config.score_head == "separate":
        return SeparateScoreHead(width, channels, cells, config.score_width)
    return ReducedScoreHead(channels, cells, config.score_width)
