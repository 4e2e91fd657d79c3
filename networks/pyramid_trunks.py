"""ResNets to stride 32, which give a feature pyramid their maps at strides 4, 8, 16 and 32.

EfficientNet-Lite trunks (`efficientnet_lite`) give the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from deepmask.networks.config import IMAGENET_MEAN, IMAGENET_STD
from deepmask.networks.trunks import BasicBlock, Bottleneck, ResNet

#: Block, blocks of each stage, and torchvision's weights of the ResNets, by name.
RESNETS: Mapping[str, tuple[type[BasicBlock] | type[Bottleneck], Sequence[int], str]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), "resnet18-f37072fd.pth"),
    "resnet50": (Bottleneck, (3, 4, 6, 3), "resnet50-0676ba61.pth"),
}


class PyramidResNet(ResNet):
    """A ResNet of all four stages, which normalises its input itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        """Random weights of "resnet18" or "resnet50"; `start_from` brings ImageNet's."""
        block, depths, published = RESNETS[name]
        super().__init__(block, depths, published)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), False)
        #: Of the maps at strides 4, 8, 16 and 32.
        self.widths = tuple(64 * block.expansion << stage for stage in range(len(depths)))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """(N, 3, H, W) RGB in 0…255, H and W multiples of 32 → maps at strides 4, 8, 16, 32."""
        return self.stages((image - self.mean) / self.std)[1:]

    def stem_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of all layers to stride 4: the part that is often frozen."""
        for module in self.frozen_stem():
            yield from module.parameters()
