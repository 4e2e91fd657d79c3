"""Trunks: convolutional networks cut at stride 16, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from deepmask.train.config import TWIN


class VggA(nn.Module):
    """VGG-A without its fully connected layers and its fifth max-pool (DeepMask §3.1).

    (N, 3, H, W) → (N, 512, H/16, W/16): eight 3×3 convolutions with ReLU, four 2×2 max-pools.
    """

    plan = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512)

    def __init__(self) -> None:
        """Random weights; see `initialise` for ImageNet's."""
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for item in self.plan:
            if isinstance(item, int):
                layers += [nn.Conv2d(width, item, 3, padding=1), nn.ReLU(inplace=True)]
                width = item
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → (N, 512, H/16, W/16)."""
        features: Tensor = self.features(image)
        return features

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """What stays as it was when the stem is frozen: the first two convolutions."""
        return tuple(self.features.children())[:6]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm around an identity or 1×1 shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        """`stride` is the first convolution's."""
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1 or width_in != width
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) → (N, width, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet18(nn.Module):
    """ResNet-18 cut after its stride-16 stage: (N, 3, H, W) → (N, 256, H/16, W/16)."""

    def __init__(self) -> None:
        """Random weights; see `initialise` for ImageNet's."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → (N, 256, H/16, W/16)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        features: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return features

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """What stays as it was when the stem is frozen: conv1 and layer1."""
        return (self.conv1, self.bn1, self.layer1)


class Twin(nn.Module):
    """Two trunks of a kind on the same picture, their features one after the other (see `twin`)."""

    def __init__(self, make: Callable[[], VggA | ResNet18]) -> None:
        """`make` gives a trunk."""
        super().__init__()
        self.first = make()
        self.second = make()

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → (N, 2·C, H/16, W/16)."""
        return torch.cat([self.first(image), self.second(image)], dim=1)

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """Both stems."""
        return (*self.first.frozen_stem(), *self.second.frozen_stem())


Trunk = VggA | ResNet18 | Twin

TRUNKS: Mapping[str, Callable[[], Trunk]] = {
    "vgg-a": VggA,
    "resnet18": ResNet18,
    "vgg-a" + TWIN: lambda: Twin(VggA),
    "resnet18" + TWIN: lambda: Twin(ResNet18),
}
