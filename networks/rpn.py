"""Region proposals on a feature pyramid (T.-Y. Lin's thesis §4.4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deepmask.networks.anchors.backbone import Backbone
from deepmask.networks.anchors.config import RpnConfig
from deepmask.networks.anchors.tower import Anchored, Tower, last_layer
from deepmask.networks.efficientnet_lite import EfficientNetLite
from deepmask.networks.network import Network
from deepmask.networks.pyramid_trunks import PyramidResNet

#: Chance of an object among the anchors that learn, which are drawn 1 to 3.
PRIOR = 0.25


class ProposalHead(nn.Module):
    """Is an anchor an object's, and where is that: layers for one level, shared over levels."""

    def __init__(self, config: RpnConfig) -> None:
        """Random weights; starts with all anchors alike, and boxes where anchors are."""
        super().__init__()
        anchors = len(config.levels()[0].sizes)
        self.tower = Tower(config)
        self.object = last_layer(config.hidden, anchors, 1, PRIOR)
        self.offset = last_layer(config.hidden, 4 * anchors, 1)

    def forward(self, levels: Sequence[Tensor]) -> Anchored:
        """Read (N, width, h, w) of each level; see `Anchored`, with K = 1."""
        read = [self.tower(level) for level in levels]
        return Anchored([self.object(x) for x in read], [self.offset(x) for x in read])


class Rpn(Network):
    """The network: `levels`, then `read`; both in one go is `dense`."""

    config: RpnConfig

    def __init__(self, config: RpnConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.proposals = ProposalHead(config)

    def pretrained_part(self) -> EfficientNetLite | PyramidResNet:
        return self.backbone.trunk

    def compile_parts(self) -> None:
        self.backbone.compile()

    def levels(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB in 0…255 → (N, width, H/s, W/s) for each of the strides.

        H and W are multiples of the coarsest stride.
        """
        levels: list[Tensor] = self.backbone(image)
        return levels

    def read(self, levels: Sequence[Tensor]) -> Anchored:
        """Return logits and offsets of all anchors."""
        found: Anchored = self.proposals(levels)
        return found

    def dense(self, image: Tensor) -> Anchored:
        """Return logits and offsets of all anchors; `image` as for `levels`."""
        return self.read(self.levels(image))
