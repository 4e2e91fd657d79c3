"""VGG-A over a canvas, without computing what its gray border gives.

Around every scaled picture lie `border` pixels of gray: half of all pixels of the pyramid of a
640×480 image. Cells that see none of the picture are the same in every picture, so:

1. The canvas is cropped to the pixels that count, and the convolutions go without padding.
2. The outermost cells of a pooled map see gray only. Repeated outwards, they are what the next
   stage sees around the picture.
3. The last map is put into a frame of cells that come from a small canvas of nothing but gray.

This is exact. Layers at whose end a cell could see both the picture and the canvas' edge run behind
the frame, over the whole map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.dense.score import crop
from deepmask.networks.trunks import VggA


@dataclass(frozen=True)
class Field:
    """Cell i of a map sees its input from stride·i − before to stride·i + after, both included.

    In a VGG-A `after` is always before + stride − 1, so that what holds from the canvas' upper left
    holds from its lower right.
    """

    stride: int = 1
    before: int = 0
    after: int = 0

    def behind(self, layers: Sequence[nn.Module]) -> Field:
        """Return the field of the map's cells after further layers."""
        field = self
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                size, step, padding = map(_side, (layer.kernel_size, layer.stride, layer.padding))
                field = Field(
                    field.stride * step,
                    field.before + field.stride * padding,
                    field.after + field.stride * (size - 1 - padding),
                )
        return field

    def first_beyond(self, border: int) -> int:
        """Return the first cell from the canvas' edge that sees beyond its `border` pixels."""
        return -(-(border - self.after) // self.stride)


def around_the_picture(trunk: nn.Module, border: int, gray: Tensor) -> nn.Module:
    """Return a module with the trunk's features of every canvas with such a border, for less.

    `gray` (1, 3, 1, 1) is the border's colour, normalised. Any other trunk than a single VGG-A is
    given back: a ResNet's cells see too far for it to be worth the copies (benchmarks/NOTES.md).
    Two trunks side by side run over the whole canvas, as a refined network's does.
    """
    return GrayBorderTrunk(trunk, border, gray) if isinstance(trunk, VggA) else trunk


class GrayBorderTrunk(nn.Module):
    """image (1, 3, H, W) normalised → features (1, 512, H/16, W/16), those of a `VggA`.

    The outer `border` pixels of the image must be gray; most of them are never read.
    """

    plane: Tensor

    def __init__(self, trunk: VggA, border: int, gray: Tensor) -> None:
        """See `around_the_picture`; `border` is at least 8."""
        super().__init__()
        stages = stages_of(trunk)
        count = stages_apart(stages, border)
        self.repeats, self.cropped = layout(stages[:count], border)
        self.stages = nn.ModuleList(nn.Sequential(*map(unpadded, one)) for one in stages[:count])
        self.rest = nn.Sequential(*joined(stages[count:]))
        field = Field().behind(joined(stages[:count]))
        frame = field.first_beyond(border)
        self.parts = [frame, 1, frame]
        side = sum(self.parts) * field.stride
        with torch.no_grad():
            plane = nn.Sequential(*joined(stages[:count]))(gray.repeat(1, 1, side, side))
        self.register_buffer("plane", plane)

    def forward(self, image: Tensor) -> Tensor:
        for side in image.shape[2:]:  # tells the exporter that something is left
            torch._check(side > 2 * self.cropped)  # type: ignore[no-untyped-call]
        x = crop(image, self.cropped)
        for repeats, stage in zip(self.repeats, self.stages, strict=True):
            if repeats:
                x = F.pad(x, (repeats,) * 4, mode="replicate")
            x = stage(x)
        features: Tensor = self.rest(self.framed(x))
        return features

    def framed(self, inner: Tensor) -> Tensor:
        """Put the cells of the gray plane around those that see the picture."""
        rows, cols = inner.shape[2:]
        above, beside, below = torch.split(self.plane, self.parts, dim=2)
        left, _, right = torch.split(beside, self.parts, dim=3)
        sides = [left.expand(-1, -1, rows, -1), inner, right.expand(-1, -1, rows, -1)]
        strips = [self._widened(above, cols), torch.cat(sides, dim=3), self._widened(below, cols)]
        return torch.cat(strips, dim=2)

    def _widened(self, strip: Tensor, cols: int) -> Tensor:
        left, middle, right = torch.split(strip, self.parts, dim=3)
        return torch.cat([left, middle.expand(-1, -1, -1, cols), right], dim=3)


def stages_of(trunk: VggA) -> list[list[nn.Module]]:
    """Return the layers in stages, each up to a pool.

    The first pool ends none: to repeat cells of its map is to copy it, 64 channels at stride 2.
    """
    layers = list(trunk.features)
    pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    ends = [*(index + 1 for index in pools[1:]), len(layers)]
    return [layers[start:end] for start, end in pairwise([0, *ends])]


def stages_apart(stages: Sequence[Sequence[nn.Module]], border: int) -> int:
    """Return how many stages have no cell that sees both the picture and the canvas' edge."""
    count, field = 0, Field()
    for stage in stages:
        field = field.behind(stage)
        if field.first_beyond(border) * field.stride < field.before:
            break
        count += 1
    return count


def layout(stages: Sequence[Sequence[nn.Module]], border: int) -> tuple[list[int], int]:
    """Return cells to repeat outwards before each stage, and pixels to crop off the canvas.

    Counted from the canvas' edge, a stage's map begins at the first cell that sees the picture, or,
    where it is to be repeated, at the cell before.
    """
    fields = [Field().behind(joined(stages[: number + 1])) for number in range(len(stages))]
    start = fields[-1].first_beyond(border)
    repeats = []
    for number in reversed(range(len(stages))):
        own = Field().behind(stages[number])
        needed = start * own.stride - own.before
        start = max(needed, fields[number - 1].first_beyond(border) - 1) if number else needed
        repeats.append(start - needed)
    return repeats[::-1], start


def joined(stages: Sequence[Sequence[nn.Module]]) -> list[nn.Module]:
    """Return the layers of several stages."""
    return [layer for stage in stages for layer in stage]


def unpadded(layer: nn.Module) -> nn.Module:
    """Return a convolution that makes only cells whose field lies in its input, or other layers."""
    if not isinstance(layer, nn.Conv2d):
        return layer
    conv = nn.Conv2d(layer.in_channels, layer.out_channels, _side(layer.kernel_size), device="meta")
    conv.weight, conv.bias = layer.weight, layer.bias
    return conv


def _side(size: Any) -> int:
    return size if isinstance(size, int) else int(size[0])
