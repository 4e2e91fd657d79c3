"""DeepMask: one trunk, one mask head, one score head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deepmask.networks.config import IMAGENET_MEAN, IMAGENET_STD
from deepmask.networks.heads import MaskHead, ScoreHead, make_mask_head, make_score_head
from deepmask.networks.network import Network, ParameterGroup, hold_statistics
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.trunks import TRUNKS, Trunk


class DeepMaskNetwork(Network):
    """The patch network of DeepMask §3.1 or the thesis, in the form its configuration describes."""

    config: DeepMaskConfig
    trunk: Trunk
    mask_head: MaskHead
    score_head: ScoreHead
    mean: Tensor
    std: Tensor

    def __init__(self, config: DeepMaskConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = TRUNKS[config.trunk](config.padding)
        self.mask_head = make_mask_head(config)
        self.score_head = make_score_head(config)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), False)
        self._compiled_stages: Callable[[Tensor], tuple[Tensor, ...]] | None = None

    def pretrained_part(self) -> Trunk:
        return self.trunk

    def compile_parts(self) -> None:
        """Compile the trunk alone.

        It is nearly all the arithmetic, and its shapes stay the same where the number of masks and
        of labels differs from batch to batch.
        """
        self._compiled_stages = torch.compile(self._run_stages)

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) float RGB 0…255 → the trunk's maps at strides 2, 4, …; features last."""
        return (self._compiled_stages or self._run_stages)(image)

    def _run_stages(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.trunk.stages((image - self.mean) / self.std)

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
        score: Tensor = self.score_head(self.mask_head.read(self.score_head.reads, windows))
        return score

    def masks(self, stages: Sequence[Tensor]) -> Tensor:
        """The trunk's maps of N patches with context → (N, S, S) logits, S `output_size`."""
        return self.mask(self.inner(stages[-1]))

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, P, P) float RGB 0…255 → mask logits (N, S, S), see `masks`, and scores (N,)."""
        stages = self.stages(patches)
        return self.masks(stages), self.score(self.inner(stages[-1]))

    def inner(self, features: Tensor) -> Tensor:
        """(N, C, P/s, P/s) at any stride s → (N, C, patch/s, patch/s): without the context."""
        stride = self.config.input_size // features.shape[-1]
        margin, size = self.config.context // stride, self.config.patch // stride
        return features[:, :, margin : margin + size, margin : margin + size]


def train_deepmask(network: DeepMaskNetwork, recipe: DeepMaskRecipe) -> list[ParameterGroup]:
    """Put a network in training mode, BatchNorm on its stored statistics, the stem fixed if asked.

    Returns the heads' parameters, and the trunk's, which learn at a rate of their own.
    """
    network.train()
    hold_statistics(network)
    if recipe.freeze_stem:
        for module in network.trunk.frozen_stem():
            module.requires_grad_(False)
    heads = (network.mask_head, network.score_head)
    return [
        ParameterGroup([p for head in heads for p in head.parameters() if p.requires_grad]),
        ParameterGroup([p for p in network.trunk.parameters() if p.requires_grad], recipe.trunk_lr),
    ]
