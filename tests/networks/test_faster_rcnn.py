"""Faster R-CNN: parameters, proposals, and names of boxes from their own levels."""

from __future__ import annotations

import pytest
import torch

from deepmask.networks.anchors.config import FasterRcnnConfig, RpnConfig
from deepmask.networks.faster_rcnn import FasterRcnn
from deepmask.networks.rpn import Rpn
from tests.networks.tiny_anchors import FASTER_RCNN, LIGHT_FASTER_RCNN


def test_the_thesis_network_is_an_rpn_with_two_layers_of_1024() -> None:
    names = tuple(f"thing {k}" for k in range(80))
    with torch.device("meta"):
        network = FasterRcnn(FasterRcnnConfig(category_ids=tuple(range(80)), category_names=names))
        proposes = Rpn(RpnConfig())
    head = (49 * 256 + 1) * 1024 + 1025 * 1024 + 1025 * (81 + 320)
    count = {one: sum(p.numel() for p in one.parameters()) for one in (network, proposes)}
    assert count[network] == count[proposes] + head


@pytest.mark.parametrize("config", [FASTER_RCNN, LIGHT_FASTER_RCNN], ids=["resnet", "light"])
def test_proposals_and_names_come_of_the_same_levels(config: FasterRcnnConfig) -> None:
    torch.manual_seed(0)
    network = FasterRcnn(config).eval()
    image = torch.rand(1, 3, 128, 256) * 255
    levels = network.levels(image)
    dense, read = network.dense(image), network.read(levels)
    assert all(torch.equal(a, b) for a, b in zip(dense.logits, read.logits, strict=True))
    assert [x.shape[1] for x in read.logits] == [3] * 5
    boxes = torch.tensor([[0.0, 0.0, 30.0, 40.0], [-20.0, 10.0, 400.0, 90.0]])
    logits, offsets = network.name(levels, boxes)
    assert (logits.shape, offsets.shape) == ((2, 3), (2, 2, 4))
    torch.testing.assert_close(network.name(levels, boxes[1:])[0][0], logits[1])


@torch.no_grad()
def test_a_box_is_read_from_its_own_level() -> None:
    """A box of 224 pixels belongs to stride 16 (eq. 4.1): other levels do not matter to it."""
    network = FasterRcnn(FASTER_RCNN).eval()
    levels = [torch.rand(1, 8, 256 // s, 256 // s) for s in FASTER_RCNN.strides]
    boxes = torch.tensor([[10.0, 10.0, 234.0, 234.0]])
    before = network.name(levels, boxes)[0]
    others = [level if k == 2 else level + 1 for k, level in enumerate(levels)]
    assert torch.equal(network.name(others, boxes)[0], before)
    levels[2] = levels[2] + 1
    assert not torch.equal(network.name(levels, boxes)[0], before)
