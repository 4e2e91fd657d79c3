"""RPN: parameters, shapes, the prior, and weights shared over levels."""

from __future__ import annotations

from dataclasses import replace

import torch

from deepmask.networks.anchors.config import RpnConfig
from deepmask.networks.rpn import PRIOR, Rpn
from tests.networks.tiny_anchors import RPN

#: A ResNet-50 without its classifier.
RESNET50 = 23_508_032


def test_the_thesis_network_has_its_parameters() -> None:
    """§4.3 and §4.4.1: laterals, merges, one 3×3 layer and two siblings for three anchors."""
    with torch.device("meta"):
        network = Rpn(RpnConfig())
    pyramid = (256 + 512 + 1024 + 2048 + 4) * 256 + 4 * (9 * 256 + 1) * 256
    head = (9 * 256 + 1) * 256 + 257 * 3 + 257 * 12
    assert sum(p.numel() for p in network.parameters()) == RESNET50 + pyramid + head


@torch.no_grad()
def test_levels_share_weights_and_start_at_the_prior() -> None:
    torch.manual_seed(0)
    network = Rpn(replace(RPN, octave=2)).eval()
    level = torch.randn(1, 8, 6, 6)
    twice = network.read([level, level])
    assert torch.equal(*twice.logits)
    assert torch.equal(*twice.offsets)
    chance = torch.sigmoid(network.read([torch.zeros(1, 8, 4, 4)]).logits[0])
    torch.testing.assert_close(chance, torch.full((1, 6, 4, 4), PRIOR))
