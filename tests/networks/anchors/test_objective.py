"""The losses of a batch: what they start at, what learns, and what shares add up to."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from deepmask.networks.anchors.assign import RETINANET, targets
from deepmask.networks.anchors.batches import AnchorBatch
from deepmask.networks.anchors.boxes import places_of
from deepmask.networks.anchors.losses import CLASS_LOSSES
from deepmask.networks.anchors.objective import retinanet_losses, rpn_losses, weights
from deepmask.networks.anchors.recipe import AnchorRecipe
from deepmask.networks.focal import ALPHA, GAMMA
from deepmask.networks.retinanet import PRIOR, RetinaNet
from deepmask.networks.rpn import Rpn
from tests.networks.tiny_anchors import LIGHT, LIGHT_RETINANET


def batch(class_loss: str, **changes: Any) -> AnchorBatch:
    """Two crops: one with two objects, the other with none, which fills a part of its canvas."""
    random = torch.Generator().manual_seed(1)
    given = AnchorBatch(
        torch.randint(256, (2, 128, 128, 3), dtype=torch.uint8, generator=random),
        [torch.tensor([128, 128]), torch.tensor([50, 100])],
        [torch.tensor([[10.0, 10.0, 60.0, 60.0], [64.0, 10.0, 126.0, 90.0]]), torch.zeros(0, 4)],
        [torch.tensor([1, 2]), torch.zeros(0, dtype=torch.int64)],
        [torch.tensor([True, True]), torch.zeros(0, dtype=torch.bool)],
        [torch.zeros(0, 4)] * 2,
        [torch.tensor([True, True])] * 2,
        2,
        class_loss,
    )
    return replace(given, **changes)


@pytest.fixture(scope="module")
def retinanet() -> RetinaNet:
    torch.manual_seed(0)
    network = RetinaNet(LIGHT_RETINANET)
    for subnet in (network.category, network.offset):
        torch.nn.init.zeros_(subnet.last.weight)
    return network


def expected_of(network: RetinaNet, given: AnchorBatch) -> float:
    """Focal loss where every anchor's chance is π: by its labels alone."""
    places = places_of(network.config.levels(), network.dense(torch.zeros(1, 3, 128, 128)).logits)
    total, objects = 0.0, 0
    for k, size in enumerate(given.sizes):
        anchors = places.boxes[places.inside(*size.tolist())]
        labels, owner = targets(anchors, given.truth(k), RETINANET)
        positive, negative = int((labels == 1).sum()), int((labels == 0).sum())
        total += positive * ALPHA * (1 - PRIOR) ** GAMMA * -log(PRIOR)
        total += negative * (1 - ALPHA) * PRIOR**GAMMA * -log(1 - PRIOR)
        objects += int((owner >= 0).sum())
    assert objects > 0
    return total / objects


def test_retinanet_starts_at_what_the_prior_predicts(retinanet: RetinaNet) -> None:
    given = batch("focal")
    found = retinanet_losses(retinanet, given)
    assert found.keys() == weights(AnchorRecipe()).keys()
    assert found["class"].item() == pytest.approx(expected_of(retinanet, given), rel=1e-4)


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_every_part_learns_by_every_loss(loss: str) -> None:
    torch.manual_seed(0)
    retinanet, rpn = RetinaNet(LIGHT_RETINANET), Rpn(LIGHT)
    given = batch(loss)
    for network, found in (
        (retinanet, retinanet_losses(retinanet, given)),
        (rpn, rpn_losses(rpn, given)),
    ):
        (found["class"] + found["box"]).backward()  # type: ignore[no-untyped-call]
        learnt = {name for name, p in network.named_parameters() if p.grad is not None}
        assert learnt == {name for name, _ in network.named_parameters()}


def test_shares_add_up_to_the_whole(retinanet: RetinaNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process divides by the counts of the whole batch."""
    given = batch("focal", images=batch("focal").images[:1].repeat(2, 1, 1, 1))
    lists = ("sizes", "boxes", "category", "usable", "crowds", "labelled")
    shares = [
        replace(
            given,
            images=given.images[k : k + 1],
            **{name: getattr(given, name)[k : k + 1] for name in lists},
        )
        for k in range(2)
    ]
    counts: list[Tensor] = []
    path = "deepmask.networks.anchors.objective.of_whole_batch"

    def noted(count: Tensor) -> Tensor:
        counts.append(count)
        return count

    monkeypatch.setattr(path, noted)
    whole = retinanet_losses(retinanet, given)
    monkeypatch.setattr(path, lambda count: counts[0])
    parts = [retinanet_losses(retinanet, share) for share in shares]
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)


def test_partly_labelled_pictures_teach_no_background() -> None:
    """Logits of anchors that no object owns get no gradient; those of objects get one for each."""
    torch.manual_seed(0)
    network = RetinaNet(LIGHT_RETINANET)
    gradients = {}
    for labelled in (True, False):
        network.zero_grad()
        given = batch("focal", labelled=[torch.tensor([labelled] * 2)] * 2)
        retinanet_losses(network, given)["class"].backward()  # type: ignore[no-untyped-call]
        bias = network.category.last.bias
        assert bias is not None
        assert bias.grad is not None
        gradients[labelled] = bias.grad.view(9, 2)
    assert (gradients[False] < gradients[True]).all()
    assert (gradients[True] - gradients[False]).min() > 0


def test_rpn_tells_no_categories_apart() -> None:
    torch.manual_seed(0)
    network = Rpn(LIGHT)
    other = batch("focal", category=[torch.tensor([2, 2]), torch.zeros(0, dtype=torch.int64)])
    one, two = rpn_losses(network, batch("focal")), rpn_losses(network, other)
    assert torch.equal(one["class"], two["class"])
