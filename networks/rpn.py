"""Region proposals on a feature pyramid (T.-Y. Lin's thesis §4.4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deepmask.networks.anchors.config import RpnConfig
from deepmask.networks.anchors.network import AnchorNetwork
from deepmask.networks.anchors.tower import Anchored, Tower, last_layer

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


class Rpn(AnchorNetwork):
    """The network; each anchor has one logit, of an object."""

    config: RpnConfig

    def __init__(self, config: RpnConfig) -> None:
        """Random weights."""
        super().__init__(config)
        self.proposals = ProposalHead(config)

    def read(self, levels: Sequence[Tensor]) -> Anchored:
        found: Anchored = self.proposals(levels)
        return found
