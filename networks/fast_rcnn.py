"""Fast R-CNN (arXiv:1504.08083; thesis §4.4.2): names of boxes, on the boxes of `fpn-lite`'s masks.

What a box looks like is read from the pyramid, or, lighter and surer with few labels, from a second
trunk that ImageNet taught and nothing has changed since: in the first, the knowledge of categories
fades while it learns to find objects of any.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.efficientnet_lite import EfficientNetLite
from deepmask.networks.fpn_lite import Features, FpnLite
from deepmask.networks.levels import STRIDES
from deepmask.networks.network import Network, ParameterGroup
from deepmask.networks.roi_align import roi_align

#: √(w·h) in pixels from which a box is read at stride 16 (§4.4.2): our pictures are 1024 px wide,
#: the thesis' 800 px high.
CANONICAL = 224


class NameTrunk(nn.Module):
    """A trunk that sees the canvas at half its size, for its maps at strides 16 and 32 of that."""

    #: In pixels of the canvas.
    strides = (32, 64)

    def __init__(self, version: int) -> None:
        """`version` of EfficientNet-Lite. Random weights."""
        super().__init__()
        self.trunk = EfficientNetLite(version)
        self.widths = self.trunk.widths[2:]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) RGB in 0…255, H and W multiples of 64 → maps (N, C, H/s, W/s)."""
        maps = self.trunk(F.avg_pool2d(image, 2))
        return maps[2], maps[3]


class BoxHead(nn.Module):
    """Two hidden layers, then a name and, for each category, a better box."""

    def __init__(self, inputs: int, config: FastRcnnConfig) -> None:
        """`inputs`: values a box. Starts with all names alike, and boxes as they are."""
        super().__init__()
        hidden, categories = config.hidden, len(config.category_ids)
        self.hidden = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )
        self.category = nn.Linear(hidden, categories + 1)
        self.offset = nn.Linear(hidden, categories * 4)
        for layer in (self.category, self.offset):
            nn.init.normal_(layer.weight, std=0.01 if layer is self.category else 0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, size, size) → logits (n, categories + 1) and offsets (n, categories, 4)."""
        x = self.hidden(cells.flatten(1))
        return self.category(x), self.offset(x).unflatten(1, (-1, 4))


class FastRcnn(Network):
    """The network: `base` proposes and stays as it was trained, `maps` and `name` learn names."""

    config: FastRcnnConfig

    def __init__(self, config: FastRcnnConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config = config
        self.base = FpnLite(config.base())
        self.namer = NameTrunk(int(config.name_trunk[-1])) if config.name_trunk else None
        widths = self.namer.widths if self.namer else (config.width,)
        self.head = BoxHead(sum(widths) * config.roi**2, config)

    def pretrained_part(self) -> EfficientNetLite | None:
        return self.namer.trunk if self.namer else None

    def compile_parts(self) -> None:
        self.base.compile_parts()

    def maps(self, image: Tensor, features: Features) -> Sequence[Tensor]:
        """Return the maps that boxes are read from: the name trunk's, or the pyramid's levels.

        `image` as for the base, whose `features` of it are.
        """
        return self.namer(image) if self.namer else features.levels

    def map_channels(self) -> dict[int, int]:
        """Return the channels of each of the `maps` by its stride, in pixels of the canvas."""
        if self.namer is None:
            return dict.fromkeys(STRIDES, self.config.width)
        return dict(zip(self.namer.strides, self.namer.widths, strict=True))

    def name(self, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of names (n, C + 1), the first of background, and offsets (n, C, 4).

        maps   of one picture, (1, channels, h, w) each.
        boxes  (n, 4) x0, y0, x1, y1 in pixels of the canvas.
        """
        aligned = [
            roi_align(one, boxes, stride, self.config.roi, self.config.samples)
            for one, stride in zip(maps, self.map_channels(), strict=True)
        ]
        cells = torch.cat(aligned, 1) if self.namer else _of_levels(aligned, boxes)
        logits, offsets = self.head(cells)
        return logits, offsets


def _of_levels(aligned: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Return each box's cells of its own level, of (n, C, size, size) for each level."""
    level = level_of(boxes)
    cells = aligned[0]
    for number, other in enumerate(aligned[1:], 1):
        cells = torch.where((level == number)[:, None, None, None], other, cells)
    return cells


def level_of(boxes: Tensor) -> Tensor:
    """Return the index of the level that each of (n, 4) boxes is read from (eq. 4.1).

    Level k = ⌊4 + log2(√(w·h) / 224)⌋ has stride 2^k; limited to those there are.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    area = size[:, 0] * size[:, 1]
    # In comparisons a power of two is exact, where a logarithm may be rounded either way.
    above = [area >= (CANONICAL * stride / 16) ** 2 for stride in STRIDES[1:]]
    return torch.stack(above).sum(0)


def train_head(network: FastRcnn, recipe: FastRcnnRecipe) -> list[ParameterGroup]:
    """Put the head in training mode; both trunks and all that proposes stay as they are."""
    network.eval().requires_grad_(False)
    network.head.train().requires_grad_(True)
    return [ParameterGroup(list(network.head.parameters()))]


def start_from_proposals(network: FastRcnn, base: Network) -> None:
    """Copy the trained network that proposes."""
    network.base.load_state_dict(base.state_dict())
