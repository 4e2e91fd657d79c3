"""What a network with anchors gives has a place for each anchor, at once or step by step."""

from __future__ import annotations

import pytest
import torch

from deepmask.networks.anchors.config import AnchorConfig
from deepmask.networks.anchors.network import AnchorNetwork
from deepmask.networks.families import build
from tests.networks.tiny_anchors import (
    FASTER_RCNN,
    LIGHT,
    LIGHT_FASTER_RCNN,
    LIGHT_RETINANET,
    RETINANET,
    RPN,
)


@pytest.mark.parametrize(
    ("config", "anchors", "categories"),
    [
        (RPN, 3, 1),
        (LIGHT, 3, 1),
        (RETINANET, 9, 2),
        (LIGHT_RETINANET, 9, 2),
        (FASTER_RCNN, 3, 1),
        (LIGHT_FASTER_RCNN, 3, 1),
    ],
    ids=lambda value: type(value).__name__ + value.trunk if isinstance(value, AnchorConfig) else "",
)
def test_each_anchor_has_its_logits_and_four_offsets(
    config: AnchorConfig, anchors: int, categories: int
) -> None:
    torch.manual_seed(0)
    network = build(config).eval()
    assert isinstance(network, AnchorNetwork)
    image = torch.rand(2, 3, 128, 256) * 255
    found = network.dense(image)
    for stride, logits, offsets in zip(config.strides, *found, strict=True):
        cells = (128 // stride, 256 // stride)
        assert logits.shape == (2, anchors * categories, *cells)
        assert offsets.shape == (2, anchors * 4, *cells)
    again = network.read(network.levels(image))
    for once, stepwise in zip(found, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(once, stepwise, strict=True))
