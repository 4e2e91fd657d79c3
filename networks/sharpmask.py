"""SharpMask: a DeepMask with a refinement on top, which is trained in a second stage."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.heads import LowRankMaskHead, make_low_rank_head
from deepmask.networks.network import Network, ParameterGroup
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.networks.patches.recipe import SharpMaskRecipe
from deepmask.networks.refinement import Refinement


class SharpMaskNetwork(DeepMaskNetwork):
    """A network with two masks of a window: the mask head's, coarse and cheap, and the refined one.

    Refinement and score do not depend on each other.
    """

    config: SharpMaskConfig
    mask_head: LowRankMaskHead
    refine: Refinement

    def __init__(self, config: SharpMaskConfig) -> None:
        """Random weights; see `start_from` for a trained DeepMask's."""
        super().__init__(config)
        self.refine = Refinement(config)

    def make_mask_head(self, config: DeepMaskConfig) -> LowRankMaskHead:
        """Return the head whose code the refinement starts from."""
        return make_low_rank_head(config)

    def masks(self, stages: Sequence[Tensor]) -> Tensor:
        """The trunk's maps of N patches with context → (N, S, S) logits, S `sharp_size`."""
        shared = [self.inner(one) for one in self.refine.shared(stages)]
        masks: Tensor = self.refine(self.mask_head.code(self.inner(stages[-1])), shared)
        return masks


def train_refinement(network: SharpMaskNetwork, recipe: SharpMaskRecipe) -> list[ParameterGroup]:
    """Put the refinement in training mode; all else was trained before and stays (thesis §3.3)."""
    network.eval().requires_grad_(False)
    network.refine.train().requires_grad_(True)
    return [ParameterGroup(list(network.refine.parameters()))]


def start_from(network: SharpMaskNetwork, base: Network) -> None:
    """Copy the trained DeepMask `base`, and let the sharp masks be its masks, interpolated."""
    network.load_state_dict({**network.state_dict(), **base.state_dict()})
    network.refine.start_from(network.mask_head)
