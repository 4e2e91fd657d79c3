"""RetinaNet (T.-Y. Lin's thesis chapter 5, arXiv:1708.02002): names and boxes of all anchors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deepmask.networks.anchors.config import RetinaNetConfig
from deepmask.networks.anchors.network import AnchorNetwork
from deepmask.networks.anchors.tower import Anchored, Tower, last_layer

#: Chance that an anchor is an object's of a category, at the start of training (π in §5.3).
PRIOR = 0.01


class Subnet(nn.Module):
    """A tower and a last convolution, shared over levels."""

    def __init__(self, config: RetinaNetConfig, outputs: int, prior: float = 0.5) -> None:
        """Random weights; outputs start at the `prior`, as logits."""
        super().__init__()
        self.tower = Tower(config)
        self.last = last_layer(config.hidden, outputs, config.last, prior)

    def forward(self, level: Tensor) -> Tensor:
        """(N, width, h, w) → (N, outputs, h, w)."""
        found: Tensor = self.last(self.tower(level))
        return found


class RetinaNet(AnchorNetwork):
    """The network; each anchor has a logit for each category."""

    config: RetinaNetConfig

    def __init__(self, config: RetinaNetConfig) -> None:
        """Random weights; starts with all anchors alike, and boxes where anchors are."""
        super().__init__(config)
        anchors, categories = len(config.levels()[0].sizes), len(config.category_ids)
        self.category = Subnet(config, anchors * categories, PRIOR)
        self.offset = Subnet(config, anchors * 4)

    def read(self, levels: Sequence[Tensor]) -> Anchored:
        return Anchored(
            [self.category(level) for level in levels], [self.offset(level) for level in levels]
        )
