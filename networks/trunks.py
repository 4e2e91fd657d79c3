"""Trunks: convolutional networks cut at stride 16 or 8, with torchvision's parameter names.

`start_from` fills them with the ImageNet weights that torchvision publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from deepmask.networks.config import TWIN
from deepmask.runtime.errors import OneLineError

PaddingMode = Literal["zeros", "reflect", "replicate"]
#: PyTorch's names of the paddings.
PADDING_MODES: Mapping[str, PaddingMode] = {"zero": "zeros", "reflect": "reflect"}

_WEIGHTS = "https://download.pytorch.org/models"
_RESNET_STAGES = 4


class InitialiseError(OneLineError):
    """Weights that cannot be started from; the text says why and what to do."""


class Trunk(nn.Module):
    """A picture's feature maps.

    published  where torchvision's ImageNet weights of it are; "" where it publishes none.
    beyond     how names of the classification network begin that the trunk does not have.
    """

    published: str = ""
    beyond: tuple[str, ...] = ()

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised → the last maps at strides 2, 4, …; the features last."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → (N, C, H/stride, W/stride) features."""
        return self.stages(image)[-1]

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """Return the layers that stay as they were when the stem is frozen."""
        raise NotImplementedError

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Copy a state dict; every parameter must be there, in its shape.

        Left over may only be a classification network's further layers. Raises `InitialiseError`.
        """
        own = self.state_dict()
        problems = {
            "lacks": [k for k in own if k not in state and not k.endswith("num_batches_tracked")],
            "has another shape:": [
                f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
                for name, value in own.items()
                if name in state and state[name].shape != value.shape
            ],
            "has unknown entries": [
                k for k in state if k not in own and not k.startswith(self.beyond)
            ],
        }
        for problem, names in problems.items():
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                raise InitialiseError(
                    f"the file does not fit this trunk: it {problem} {', '.join(names[:3])}{more}"
                )
        self.load_state_dict({name: state.get(name, value) for name, value in own.items()})


class VggA(Trunk):
    """VGG-A without its fully connected layers and its fifth max-pool (DeepMask §3.1).

    (N, 3, H, W) → (N, 512, H/16, W/16): eight 3×3 convolutions with ReLU, four 2×2 max-pools.
    """

    published = f"{_WEIGHTS}/vgg11-8a719046.pth"
    beyond = ("classifier.", "avgpool.")
    plan = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512)

    def __init__(self, padding: str = "zero") -> None:
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
        maps: list[Tensor] = []
        x = image
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return (*maps[1:], x)  # the first is at stride 1

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """Return the first two convolutions and what lies between them."""
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


class ResNet(Trunk):
    """A ResNet cut after one of its stages: `layer1` is at stride 4, each further one at twice.

    ResNet-50 to stride 16 is the thesis' D39, to stride 8 its D21.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        published: str,
        padding: str = "zero",
    ) -> None:
        """`depths` counts the blocks of each stage; `published` names a file of weights."""
        super().__init__()
        self.published = f"{_WEIGHTS}/{published}"
        further = range(len(depths) + 1, _RESNET_STAGES + 1)
        self.beyond = ("fc.", "avgpool.", *(f"layer{number}." for number in further))
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
        maps = [torch.relu(self.bn1(self.conv1(image)))]
        x = self.maxpool(maps[0])
        for name in self._layers:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return tuple(maps)

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        """Return conv1, its BatchNorm and layer1."""
        return (self.conv1, self.bn1, self.get_submodule("layer1"))


class Twin(Trunk):
    """Two trunks of a kind on one picture, maps side by side: what `score_swap` makes of two."""

    def __init__(self, make: Callable[[str], Trunk], padding: str = "zero") -> None:
        super().__init__()
        self.first = make(padding)
        self.second = make(padding)

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        pairs = zip(self.first.stages(image), self.second.stages(image), strict=True)
        return tuple(torch.cat(pair, dim=1) for pair in pairs)

    def frozen_stem(self) -> tuple[nn.Module, ...]:
        return (*self.first.frozen_stem(), *self.second.frozen_stem())


_SINGLE: Mapping[str, Callable[[str], Trunk]] = {
    "vgg-a": VggA,
    "resnet18": partial(ResNet, BasicBlock, (2, 2, 2), "resnet18-f37072fd.pth"),
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6), "resnet50-0676ba61.pth"),
    "resnet50-stride8": partial(ResNet, Bottleneck, (3, 4), "resnet50-0676ba61.pth"),
}
#: Each makes a trunk of a padding, "zero" or "reflect".
TRUNKS: Mapping[str, Callable[[str], Trunk]] = {
    **_SINGLE,
    **{name + TWIN: partial(Twin, make) for name, make in _SINGLE.items()},
}
