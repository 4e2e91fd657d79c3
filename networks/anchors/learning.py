"""What of a network with anchors learns, and what it may start from."""

from __future__ import annotations

from deepmask.networks.anchors.network import AnchorNetwork
from deepmask.networks.anchors.recipe import AnchorRecipe
from deepmask.networks.fpn_lite import FpnLite
from deepmask.networks.network import Network, ParameterGroup, train_everything


def train_anchors(network: AnchorNetwork, recipe: AnchorRecipe) -> list[ParameterGroup]:
    """Put a network in training mode; return trunk and the rest as groups of one learning rate."""
    train_everything(network, recipe)
    if recipe.freeze_backbone:
        network.backbone.eval().requires_grad_(False)
    elif recipe.freeze_stem:
        for parameter in network.backbone.trunk.stem_parameters():
            parameter.requires_grad_(False)
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    trunk = [p for name, p in named if name.startswith("backbone.trunk.")]
    rest = [p for name, p in named if not name.startswith("backbone.trunk.")]
    groups = [ParameterGroup(trunk, recipe.trunk_lr), ParameterGroup(rest)]
    return [group for group in groups if group.parameters]


def start_from_pyramid(network: AnchorNetwork, base: Network) -> None:
    """Copy the trunk and pyramid of a trained `fpn-lite`; the rest stays random."""
    assert isinstance(base, FpnLite)
    network.backbone.start_from(base)
