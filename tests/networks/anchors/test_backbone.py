"""Trunk and pyramid: strides of the levels, and starting from a trained `fpn-lite`."""

from __future__ import annotations

import pytest
import torch

from deepmask.networks.anchors.backbone import Backbone
from deepmask.networks.anchors.config import AnchorConfig, RetinaNetConfig, RpnConfig
from deepmask.networks.fpn_lite import FpnLite
from tests.networks.tiny_anchors import LIGHT


@pytest.mark.parametrize(
    "config",
    [
        RpnConfig(trunk="resnet18", width=4),
        RetinaNetConfig(trunk="resnet18", width=4),
        RpnConfig(trunk="efficientnet-lite0", width=4),
    ],
    ids=["p2-p6", "p3-p7", "light"],
)
def test_levels_have_the_strides_of_the_configuration(config: AnchorConfig) -> None:
    torch.manual_seed(0)
    levels = Backbone(config).eval()(torch.rand(1, 3, 128, 256) * 255)
    assert [tuple(p.shape) for p in levels] == [(1, 4, 128 // s, 256 // s) for s in config.strides]
    assert all(bool(p.abs().sum() > 0) for p in levels)


@torch.no_grad()
def test_a_light_backbone_starts_as_a_trained_networks() -> None:
    config = LIGHT.base()
    assert config is not None
    base, backbone = FpnLite(config).eval(), Backbone(LIGHT).eval()
    backbone.start_from(base)
    image = torch.rand(1, 3, 128, 128) * 255
    for found, wanted in zip(backbone(image), base.features(image).levels, strict=True):
        assert torch.equal(found, wanted)
