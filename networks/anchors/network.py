"""What all networks with anchors have: a pyramid, and something that reads each of its levels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from deepmask.networks.anchors.backbone import Backbone
from deepmask.networks.anchors.config import AnchorConfig
from deepmask.networks.anchors.tower import Anchored
from deepmask.networks.efficientnet_lite import EfficientNetLite
from deepmask.networks.network import Network
from deepmask.networks.pyramid_trunks import PyramidResNet


class AnchorNetwork(Network):
    """The network: `levels`, then `read`; `dense` is both."""

    config: AnchorConfig

    def __init__(self, config: AnchorConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)

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
        raise NotImplementedError

    def dense(self, image: Tensor) -> Anchored:
        """Return logits and offsets of all anchors; `image` as for `levels`."""
        return self.read(self.levels(image))
