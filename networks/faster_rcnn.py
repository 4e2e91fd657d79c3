"""Faster R-CNN on a feature pyramid (thesis §4.4.2): proposals and names from one look."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from deepmask.networks.anchors.config import FasterRcnnConfig
from deepmask.networks.boxes.head import BoxHead, of_own_level
from deepmask.networks.roi_align import roi_align
from deepmask.networks.rpn import Rpn


class FasterRcnn(Rpn):
    """The network: `levels` once a picture; `read` proposes boxes of them, `name` names boxes."""

    config: FasterRcnnConfig

    def __init__(self, config: FasterRcnnConfig) -> None:
        """Random weights."""
        super().__init__(config)
        self.head = BoxHead(
            config.width * config.roi**2, len(config.category_ids), config.code, config.dropout
        )

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
