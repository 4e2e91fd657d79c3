"""Trunks: convolutional networks cut at stride 16 or 8, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from deepmask.networks.config import TWIN

PaddingMode = Literal["zeros", "reflect"]
#: PyTorch's names of the paddings.
PADDING_MODES: Mapping[str, PaddingMode] = {"zero": "zeros", "reflect": "reflect"}


class VggA(nn.Module):
    """VGG-A without its fully connected layers and its fifth max-pool (DeepMask §3.1).

    (N, 3, H, W) → (N, 512, H/16, W/16): eight 3×3 convolutions with ReLU, four 2×2 max-pools.
    """

    plan = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512)

    def __init__(self, padding: str = "zero") -> None:
        """Random weights; see `initialise` for ImageNet's."""
        super().__init__()
        mode = PADDING_MODES[padding]
        layers: list[nn.Module] = []
        width = 3
        for item in self.plan:
            if isinstance(item, int):
                layers.append(nn.Conv2d(width, item, 3, padding=1, padding_mode=mode))
                layers.append(nn.ReLU(inplace=True))
                width = item
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised → the last maps at strides 2, 4, 8 and 16."""
        maps: list[Tensor] = []
        x = image
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return (*maps[1:], x)  # the first is at stride 1

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → (N, 512, H/16, W/16)."""
        return self.stages(image)[-1]

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """What stays as it was when the stem is frozen: the first two convolutions."""
        return tuple(self.features.children())[:6]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm around an identity or 1×1 shortcut."""

    expansion = 1

    def __init__(self, width_in: int, width: int, stride: int, mode: PaddingMode) -> None:
        """`stride` is the first convolution's, `mode` the padding's."""
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False, padding_mode=mode)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False, padding_mode=mode)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(width_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) → (N, width, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with BatchNorm around an identity or 1×1 shortcut."""

    expansion = 4

    def __init__(self, width_in: int, width: int, stride: int, mode: PaddingMode) -> None:
        """`stride` is the 3×3 convolution's, as in torchvision; `mode` the padding's."""
        super().__init__()
        width_out = width * self.expansion
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False, padding_mode=mode)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width_out)
        self.downsample = _shortcut(width_in, width_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) → (N, 4·width, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + shortcut)


def _shortcut(width_in: int, width_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and width_in == width_out:
        return None
    conv = nn.Conv2d(width_in, width_out, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width_out))


class ResNet(nn.Module):
    """A ResNet cut after one of its stages: `layer1` is at stride 4, each further one at twice.

    ResNet-50 to stride 16 is the thesis' D39, to stride 8 its D21.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        padding: str = "zero",
    ) -> None:
        """`depths` counts the blocks of each stage. Random weights; see `initialise`."""
        super().__init__()
        mode = PADDING_MODES[padding]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False, padding_mode=mode)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self._layers: list[str] = []
        width_in = 64
        for index, depth in enumerate(depths):
            width, stride = 64 << index, 1 if index == 0 else 2
            blocks = []
            for number in range(depth):
                blocks.append(block(width_in, width, stride if number == 0 else 1, mode))
                width_in = width * block.expansion
            self._layers.append(f"layer{index + 1}")
            self.add_module(self._layers[-1], nn.Sequential(*blocks))

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised → the last maps at strides 2, 4, 8, …"""
        maps = [torch.relu(self.bn1(self.conv1(image)))]
        x = self.maxpool(maps[0])
        for name in self._layers:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return tuple(maps)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → (N, C, H/stride, W/stride)."""
        return self.stages(image)[-1]

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """What stays as it was when the stem is frozen: conv1 and layer1."""
        return (self.conv1, self.bn1, self.get_submodule("layer1"))


class Twin(nn.Module):
    """Two trunks of a kind on the same picture, their features one after the other (see `twin`)."""

    def __init__(self, make: Callable[[str], VggA | ResNet], padding: str = "zero") -> None:
        """`make` gives a trunk of a padding."""
        super().__init__()
        self.first = make(padding)
        self.second = make(padding)

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised → both trunks' maps, one after the other."""
        pairs = zip(self.first.stages(image), self.second.stages(image), strict=True)
        return tuple(torch.cat(pair, dim=1) for pair in pairs)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → (N, 2·C, H/stride, W/stride)."""
        return torch.cat([self.first(image), self.second(image)], dim=1)

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """Both stems."""
        return (*self.first.frozen_stem(), *self.second.frozen_stem())


Trunk = VggA | ResNet | Twin

_SINGLE: Mapping[str, Callable[[str], VggA | ResNet]] = {
    "vgg-a": VggA,
    "resnet18": partial(ResNet, BasicBlock, (2, 2, 2)),
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6)),
    "resnet50-stride8": partial(ResNet, Bottleneck, (3, 4)),
}
#: Each makes a trunk of a padding, "zero" or "reflect".
TRUNKS: Mapping[str, Callable[[str], Trunk]] = {
    **_SINGLE,
    **{name + TWIN: partial(Twin, make) for name, make in _SINGLE.items()},
}
