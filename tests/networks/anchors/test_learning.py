"""What learns: everything, all but the stem, or what reads the pyramid."""

from __future__ import annotations

import torch

from deepmask.networks.anchors.learning import start_from_pyramid, train_anchors
from deepmask.networks.anchors.recipe import AnchorRecipe
from deepmask.networks.fpn_lite import FpnLite
from deepmask.networks.retinanet import RetinaNet
from tests.networks.tiny_anchors import LIGHT_RETINANET, RETINANET


def learning(network: RetinaNet) -> set[str]:
    return {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}


def test_a_frozen_backbone_does_not_learn() -> None:
    network = RetinaNet(RETINANET)
    (group,) = train_anchors(network, AnchorRecipe(freeze_backbone=True))
    assert learning(network) == {"category", "offset"}
    assert len(group.parameters) == len([p for p in network.parameters() if p.requires_grad])
    assert network.category.training
    assert not network.backbone.training


def test_the_trunk_learns_at_a_rate_of_its_own() -> None:
    network = RetinaNet(RETINANET)
    trunk, rest = train_anchors(network, AnchorRecipe(trunk_lr=0.25))
    assert (trunk.factor, rest.factor) == (0.25, 1.0)
    assert learning(network) == {"backbone", "category", "offset"}
    stem = {id(p) for p in network.backbone.trunk.stem_parameters()}
    assert stem
    assert not stem & {id(p) for p in (*trunk.parameters, *rest.parameters)}
    everything = train_anchors(RetinaNet(RETINANET), AnchorRecipe(freeze_stem=False))
    assert len(everything[0].parameters) > len(trunk.parameters)


def test_the_rest_of_a_network_stays_random() -> None:
    config = LIGHT_RETINANET.base()
    assert config is not None
    base, network = FpnLite(config), RetinaNet(LIGHT_RETINANET)
    before = network.category.last.weight.clone()
    start_from_pyramid(network, base)
    assert torch.equal(network.category.last.weight, before)
    for name, value in base.trunk.state_dict().items():
        assert torch.equal(network.backbone.trunk.state_dict()[name], value)
