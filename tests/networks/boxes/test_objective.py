"""The losses of a batch, and the boxes that the base proposes for it."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
from torch import Tensor

from deepmask.networks.boxes.batches import BoxBatch
from deepmask.networks.boxes.objective import losses, weights
from deepmask.networks.boxes.proposals import propose_boxes
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.fast_rcnn import FastRcnn, train_head
from deepmask.networks.levels import SLOTS, STRIDES
from tests.networks.tiny_fast_rcnn import OF_PYRAMID


@pytest.fixture(scope="module")
def network() -> FastRcnn:
    """A small network in training mode."""
    torch.manual_seed(0)
    network = FastRcnn(OF_PYRAMID)
    train_head(network, FastRcnnRecipe())
    return network


def batch(*, complete: bool, proposed: list[Tensor] | None = None) -> BoxBatch:
    """A picture of 100 × 120 pixels with two objects."""
    random = torch.Generator().manual_seed(1)
    return BoxBatch(
        [torch.randint(256, (128, 128, 3), dtype=torch.uint8, generator=random)],
        [torch.tensor([100, 120])],
        [torch.tensor([[10.0, 10.0, 60.0, 60.0], [70.0, 20.0, 110.0, 90.0]])],
        [torch.tensor([1, 2])],
        [torch.zeros(0, 4)],
        [torch.tensor(complete)],
        proposed,
        1,
    )


def test_the_first_loss_is_that_of_names_all_alike(network: FastRcnn) -> None:
    torch.manual_seed(0)
    found = losses(network, batch(complete=True))
    assert found.keys() == weights(FastRcnnRecipe()).keys()
    assert found["class"].item() == pytest.approx(log(3), abs=0.1)
    assert all(torch.isfinite(one) for one in found.values())


def test_a_share_counts_for_its_part(network: FastRcnn) -> None:
    whole = batch(complete=True)
    torch.manual_seed(0)
    alone = losses(network, whole)
    torch.manual_seed(0)
    half = losses(network, replace(whole, whole=2))
    for name, value in alone.items():
        torch.testing.assert_close(half[name], value / 2)


def test_a_partly_labelled_picture_teaches_no_background(network: FastRcnn) -> None:
    network.zero_grad()
    sum(losses(network, batch(complete=False)).values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    bias = network.head.category.bias.grad
    assert bias is not None
    assert bias[0] > 0 > bias[1:].min()
    assert all(p.grad is None for p in network.base.parameters())


def test_stored_proposals_take_the_place_of_the_networks_own(network: FastRcnn) -> None:
    """Without any, the two objects' boxes are all there is to learn from."""
    network.zero_grad()
    only_objects = batch(complete=True, proposed=[torch.zeros(0, 4)])
    losses(network, only_objects)["class"].backward()  # type: ignore[no-untyped-call]
    bias = network.head.category.bias.grad
    assert bias is not None
    assert bias[0] > 0
    stored = [torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(9, 1)]
    network.zero_grad()
    losses(network, batch(complete=True, proposed=stored))["class"].backward()  # type: ignore[no-untyped-call]
    assert bias is not network.head.category.bias.grad
    again = network.head.category.bias.grad
    assert again is not None
    assert again[0] < 0


def test_boxes_are_those_of_masks(network: FastRcnn) -> None:
    """A mask that fills the middle half of its window has a box of half the window's side."""
    base = network.base
    canvas = torch.rand(1, 3, 128, 128) * 255

    def square(dense: object, windows: object, slot: int, scores: Tensor) -> tuple[Tensor, Tensor]:
        size = SLOTS[slot].mask
        masks = torch.full((len(scores), size, size), -5.0)
        masks[:, size // 4 : -size // 4, size // 4 : -size // 4] = 5.0
        return masks, scores[:, 0]

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(base, "masks", square)
        boxes = propose_boxes(base, base.dense(canvas), (100, 120), 30)
        everything = propose_boxes(base, base.dense(canvas), (100, 120), 10**6)
    assert 0 < len(boxes) <= 30 < len(everything)
    limits = torch.tensor([120.0, 100.0, 120.0, 100.0])
    assert ((everything >= 0) & (everything <= limits)).all()
    inner = ((everything > 0) & (everything < limits)).all(1)
    sides = {stride * slot.fine / 4 for stride in STRIDES for slot in SLOTS}
    found = {*(everything[inner, 2] - everything[inner, 0]).tolist()}
    assert found
    assert found <= sides


def test_masks_without_a_pixel_have_no_box(network: FastRcnn) -> None:
    base = network.base

    def nothing(dense: object, windows: object, slot: int, scores: Tensor) -> tuple[Tensor, Tensor]:
        size = SLOTS[slot].mask
        return torch.full((len(scores), size, size), -5.0), scores[:, 0]

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(base, "masks", nothing)
        assert not len(propose_boxes(base, base.dense(torch.zeros(1, 3, 128, 128)), (99, 99), 9))
