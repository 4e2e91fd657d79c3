"""RetinaNet: parameters, shapes, and the prior of all categories."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deepmask.networks.anchors.config import RetinaNetConfig
from deepmask.networks.retinanet import PRIOR, RetinaNet
from tests.networks.tiny_anchors import RETINANET

RESNET50 = 23_508_032


def named(count: int) -> RetinaNetConfig:
    """The thesis' network for so many categories."""
    return RetinaNetConfig(
        category_ids=tuple(range(count)), category_names=tuple(f"thing {k}" for k in range(count))
    )


def subnets(categories: int) -> int:
    """Parameters of two subnets of four layers of 256, for 9 anchors."""
    layer = (9 * 256 + 1) * 256
    return 8 * layer + (9 * 256 + 1) * 9 * (categories + 4)


@pytest.mark.parametrize("categories", [80, 91])
def test_the_thesis_network_has_its_parameters(categories: int) -> None:
    with torch.device("meta"):
        network = RetinaNet(named(categories))
    pyramid = (512 + 1024 + 2048 + 3) * 256 + 3 * (9 * 256 + 1) * 256
    coarse = (9 * 2048 + 1) * 256 + (9 * 256 + 1) * 256
    found = sum(p.numel() for p in network.parameters())
    assert found == RESNET50 + pyramid + coarse + subnets(categories)
    # torchvision publishes 34 014 999 for 91 categories, with P6 made of P5 instead of C5, and
    # without the 53 120 parameters of BatchNorm.
    if categories == 91:
        assert found - 9 * (2048 - 256) * 256 - 53_120 == 34_014_999


@torch.no_grad()
def test_all_categories_start_at_the_prior() -> None:
    network = RetinaNet(replace(RETINANET, octave=1)).eval()
    found = network.read([torch.zeros(1, 8, 4, 4)])
    torch.testing.assert_close(torch.sigmoid(found.logits[0]), torch.full((1, 6, 4, 4), PRIOR))
    assert not found.offsets[0].any()
