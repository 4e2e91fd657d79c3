"""Losses of anchors: values and gradients against plain forms in float64, counts, and the prior."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from deepmask.networks.anchors import losses
from deepmask.networks.anchors.losses import CLASS_LOSSES, box_sum
from deepmask.networks.focal import ALPHA, GAMMA

#: Far from each other.
ANCHORS = torch.stack([torch.arange(40.0) * 20, torch.zeros(40)], 1).repeat(1, 2)
ANCHORS[:, 2:] += 10
PRIOR = 0.01


def entropy(logit: float, label: int) -> float:
    """−log of the chance of what is right."""
    if label < 0:
        return 0.0
    return math.log1p(math.exp(-logit if label else logit))


def focal(logit: float, label: int) -> float:
    """Eq. 5.5."""
    right = math.exp(-entropy(logit, label))
    alpha = ALPHA if label else 1 - ALPHA
    return alpha * (1 - right) ** GAMMA * entropy(logit, label) if label >= 0 else 0.0


def drawn() -> tuple[Tensor, Tensor]:
    """Logits and labels of 40 anchors and three categories; 6 anchors are an object's."""
    random = np.random.default_rng(0)
    labels = np.where(random.random((40, 3)) < 0.2, -1, 0)
    labels[:6] = 0
    labels[range(6), [0, 1, 2, 0, 1, 2]] = 1
    labels[6] = -1
    logits = torch.from_numpy(random.normal(0, 3, (40, 3))).float()
    return logits, torch.from_numpy(labels).to(torch.int8)


@pytest.mark.parametrize(("name", "plain"), [("focal", focal), ("cross-entropy", entropy)])
def test_all_anchors_count_for_each_objects(name: str, plain: object) -> None:
    assert callable(plain)
    logits, labels = drawn()
    logits.requires_grad_()
    total, count = CLASS_LOSSES[name](logits, labels, ANCHORS)
    total.backward()  # type: ignore[no-untyped-call]
    pairs = list(zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True))
    assert count.item() == 6
    assert total.item() == pytest.approx(sum(plain(x, y) for x, y in pairs), rel=1e-5)
    slopes = [(plain(x + 1e-5, y) - plain(x - 1e-5, y)) / 2e-5 for x, y in pairs]
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.flatten().numpy(), slopes, atol=1e-5)


def test_hard_examples_are_the_anchors_of_the_largest_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(losses, "HARDEST", 5)
    logits, labels = drawn()
    logits.requires_grad_()
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    each = [sum(map(entropy, x, y)) for x, y in rows]
    total, count = CLASS_LOSSES["ohem"](logits, labels, ANCHORS)
    total.backward()  # type: ignore[no-untyped-call]
    assert count.item() == 5
    assert total.item() == pytest.approx(sum(sorted(each)[-5:]), rel=1e-5)
    assert logits.grad is not None
    learnt = logits.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert learnt == sorted(np.argsort(each)[-5:].tolist())


def test_an_anchor_that_overlaps_a_harder_one_is_left_out() -> None:
    logits, labels = torch.tensor([[3.0], [2.0], [1.0]]), torch.zeros(3, 1)
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4]])
    total, count = CLASS_LOSSES["ohem"](logits, labels, anchors)
    assert count.item() == 2
    assert total.item() == pytest.approx(entropy(3, 0) + entropy(1, 0))


def test_sampling_takes_three_of_background_for_one_of_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(losses, "SAMPLED", 16)
    torch.manual_seed(0)
    logits, labels = drawn()
    logits.requires_grad_()
    total, count = CLASS_LOSSES["sampled"](logits, labels, ANCHORS)
    total.backward()  # type: ignore[no-untyped-call]
    assert count.item() == 16
    assert logits.grad is not None
    chosen = logits.grad.abs().sum(1) > 0
    assert int(chosen[:6].sum()) == 4
    rows = zip(logits[chosen].tolist(), labels[chosen].tolist(), strict=True)
    assert total.item() == pytest.approx(sum(sum(map(entropy, x, y)) for x, y in rows), rel=1e-5)


def test_an_anchor_of_which_nothing_is_known_is_never_drawn() -> None:
    logits, labels = torch.zeros(4, 2), torch.tensor([[-1, -1], [0, -1], [0, 0], [1, 0]])
    for name in ("ohem", "sampled"):
        total, count = CLASS_LOSSES[name](logits, labels, ANCHORS[:4])
        assert count.item() == 3
        assert total.item() == pytest.approx(5 * math.log(2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("focal", 80 * (1 - ALPHA) * PRIOR**GAMMA * -math.log(1 - PRIOR)),
        ("cross-entropy", 80 * -math.log(1 - PRIOR)),
        ("ohem", 80 * -math.log(1 - PRIOR)),
        ("sampled", 80 * -math.log(1 - PRIOR)),
    ],
)
def test_at_the_prior_an_anchor_of_background_costs_what_is_predicted(
    name: str, expected: float
) -> None:
    """π = .01 (§5.3), 80 categories."""
    logits = torch.full((40, 80), -math.log((1 - PRIOR) / PRIOR))
    total, count = CLASS_LOSSES[name](logits, torch.zeros(40, 80, dtype=torch.int8), ANCHORS)
    assert total.item() == pytest.approx(40 * expected, rel=1e-4)
    assert count.item() == (0 if name in ("focal", "cross-entropy") else 40)


def test_boxes_lose_squares_of_small_differences_and_sizes_of_large_ones() -> None:
    offsets = torch.tensor([[0.5, -0.5, 3.0, 0.0]], requires_grad=True)
    loss = box_sum(offsets, torch.zeros(1, 4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.125 + 0.125 + 2.5)
    assert offsets.grad is not None
    assert offsets.grad.tolist() == [[0.5, -0.5, 1.0, 0.0]]
