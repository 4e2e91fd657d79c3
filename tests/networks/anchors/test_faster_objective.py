"""The losses of Faster R-CNN: what they start at, and what learns."""

from __future__ import annotations

from math import log

import pytest
import torch

from deepmask.networks.anchors.batches import FasterBatch
from deepmask.networks.anchors.faster_objective import faster_losses, faster_weights
from deepmask.networks.anchors.objective import rpn_losses
from deepmask.networks.anchors.recipe import FasterRcnnRecipe
from deepmask.networks.faster_rcnn import FasterRcnn
from deepmask.networks.rpn import Rpn
from tests.networks.anchors.test_objective import batch
from tests.networks.tiny_anchors import LIGHT_FASTER_RCNN


def given(*, labelled: bool = True) -> FasterBatch:
    flags = [torch.tensor([labelled] * 2)] * 2
    return FasterBatch(**vars(batch("focal", labelled=flags)), proposals=40, drawn=32)


@pytest.fixture
def network() -> FasterRcnn:
    torch.manual_seed(0)
    return FasterRcnn(LIGHT_FASTER_RCNN)


def test_all_parts_learn_and_names_start_all_alike(network: FasterRcnn) -> None:
    found = faster_losses(network, given())
    assert found.keys() == faster_weights(FasterRcnnRecipe()).keys()
    assert found["class"].item() == pytest.approx(log(3), abs=0.1)
    torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in network.parameters())


def test_proposals_learn_as_those_of_an_rpn(network: FasterRcnn) -> None:
    rpn = Rpn(LIGHT_FASTER_RCNN)
    rpn.backbone.load_state_dict(network.backbone.state_dict())
    rpn.proposals.load_state_dict(network.proposals.state_dict())
    alone, both = rpn_losses(rpn, given()), faster_losses(network, given())
    torch.testing.assert_close(both["object"], alone["class"])
    torch.testing.assert_close(both["anchor"], alone["box"])


def test_a_partly_labelled_picture_teaches_no_background(network: FasterRcnn) -> None:
    faster_losses(network, given(labelled=False))["class"].backward()  # type: ignore[no-untyped-call]
    bias = network.head.category.bias.grad
    assert bias is not None
    assert bias[0] > 0 > bias[1:].min()
