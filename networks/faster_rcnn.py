"""Faster R-CNN on a feature pyramid (thesis §4.4.2): proposals and names from one look."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from deepmask.networks.anchors.backbone import Backbone
from deepmask.networks.anchors.config import FasterRcnnConfig
from deepmask.networks.anchors.tower import Anchored
from deepmask.networks.boxes.head import BoxHead, of_own_level
from deepmask.networks.efficientnet_lite import EfficientNetLite
from deepmask.networks.network import Network
from deepmask.networks.pyramid_trunks import PyramidResNet
from deepmask.networks.roi_align import roi_align
from deepmask.networks.rpn import ProposalHead


class FasterRcnn(Network):
    """The network: `levels` once a picture; `read` proposes boxes of them, `name` names boxes."""

    config: FasterRcnnConfig

    def __init__(self, config: FasterRcnnConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.proposals = ProposalHead(config.rpn())
        self.head = BoxHead(
            config.width * config.roi**2, len(config.category_ids), config.code, config.dropout
        )

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
        """Return logits and offsets of all anchors, as an RPN's."""
        found: Anchored = self.proposals(levels)
        return found

    def dense(self, image: Tensor) -> Anchored:
        """Return logits and offsets of all anchors; `image` as for `levels`."""
        return self.read(self.levels(image))

    def name(self, levels: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of names (n, C + 1), the first of background, and offsets (n, C, 4).

        levels  of one picture, (1, width, h, w) each; the coarsest is not read.
        boxes   (n, 4) x0, y0, x1, y1 in pixels of the canvas.
        """
        strides = self.config.box_strides
        aligned = [
            roi_align(level, boxes, stride, self.config.roi, self.config.samples)
            for level, stride in zip(levels, strides, strict=False)
        ]
        logits, offsets = self.head(of_own_level(aligned, boxes, strides))
        return logits, offsets
