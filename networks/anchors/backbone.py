"""Trunk and pyramid of a network with anchors."""

from __future__ import annotations

from torch import Tensor, nn

from deepmask.networks.anchors.config import AnchorConfig
from deepmask.networks.efficientnet_lite import EfficientNetLite
from deepmask.networks.feature_pyramid import (
    FeaturePyramid,
    ProposalPyramid,
    RetinaPyramid,
    TopDown,
    start_convolutions,
)
from deepmask.networks.fpn_lite import TRUNK_DEVIATION, FpnLite
from deepmask.networks.pyramid_trunks import PyramidResNet


class Backbone(nn.Module):
    """A picture in, the levels of its pyramid out."""

    trunk: EfficientNetLite | PyramidResNet
    pyramid: TopDown

    def __init__(self, config: AnchorConfig) -> None:
        """Random weights."""
        super().__init__()
        if config.is_lite:
            self.trunk = EfficientNetLite(int(config.trunk[-1]))
            lite = FeaturePyramid(self.trunk.widths[1:], config.width)
            lite.start(TRUNK_DEVIATION[1:])
            self.pyramid = lite
            return
        self.trunk = PyramidResNet(config.trunk)
        if config.strides[0] == 4:
            self.pyramid = ProposalPyramid(self.trunk.widths, config.width)
        else:
            self.pyramid = RetinaPyramid(self.trunk.widths[1:], config.width)
        start_convolutions(self.pyramid, "linear")

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB in 0…255 → (N, width, H/s, W/s) for each stride s.

        H and W are multiples of the coarsest stride.
        """
        maps = self.trunk(image)
        levels: list[Tensor] = self.pyramid(maps[-len(self.pyramid.lateral) :])
        return levels

    def start_from(self, base: FpnLite) -> None:
        """Copy the trunk and pyramid of a trained `fpn-lite`."""
        self.trunk.load_state_dict(base.trunk.state_dict())
        self.pyramid.load_state_dict(base.pyramid.state_dict())
