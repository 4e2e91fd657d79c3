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
from deepmask.networks.boxes.head import BoxHead, of_own_level
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.efficientnet_lite import EfficientNetLite
from deepmask.networks.fpn_lite import Features, FpnLite
from deepmask.networks.levels import STRIDES
from deepmask.networks.network import Network, ParameterGroup
from deepmask.networks.roi_align import roi_align


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
        self.head = BoxHead(
            sum(widths) * config.roi**2, len(config.category_ids), config.hidden, config.dropout
        )

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
        cells = torch.cat(aligned, 1) if self.namer else of_own_level(aligned, boxes, STRIDES)
        logits, offsets = self.head(cells)
        return logits, offsets


def train_head(network: FastRcnn, recipe: FastRcnnRecipe) -> list[ParameterGroup]:
    """Put the head in training mode; both trunks and all that proposes stay as they are."""
    network.eval().requires_grad_(False)
    network.head.train().requires_grad_(True)
    return [ParameterGroup(list(network.head.parameters()))]


def start_from_proposals(network: FastRcnn, base: Network) -> None:
    """Copy the trained network that proposes."""
    network.base.load_state_dict(base.state_dict())
