"""Losses of whole pictures: values by hand, what is ignored, gradients' signs."""

from __future__ import annotations

import math

import pytest
import torch

from deepmask.networks.whole.losses import (
    iou_sum,
    mask_loss,
    quality_sum,
)


def test_quality_is_learnt_where_a_window_means_an_object() -> None:
    logits = torch.zeros(3, requires_grad=True)
    target, owned = torch.tensor([0.9, 0.2, 0.0]), torch.tensor([True, True, False])
    quality_sum(logits, target, owned).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([-0.4, 0.3, 0.0]))


def test_a_perfect_mask_costs_nothing_and_the_opposite_much() -> None:
    share = (torch.rand(2, 8, 8) > 0.5).float()
    seen = torch.ones(2, 8, 8, dtype=torch.bool)
    right = mask_loss((share * 2 - 1) * 30, share, seen)
    wrong = mask_loss((1 - share * 2) * 30, share, seen)
    torch.testing.assert_close(right, torch.zeros(2), atol=1e-4, rtol=0)
    assert (wrong > 10).all()


def test_unseen_mask_pixels_do_not_count() -> None:
    share = torch.zeros(1, 8, 8)
    seen = torch.zeros(1, 8, 8, dtype=torch.bool)
    seen[:, :4] = True
    logits = torch.randn(1, 8, 8, requires_grad=True)
    mask_loss(logits, share, seen).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[:, :4].any()
    assert not logits.grad[:, 4:].any()


def test_windows_that_do_not_count_do_not_teach() -> None:
    logits = torch.zeros(2, requires_grad=True)
    loss = iou_sum(logits, torch.tensor([1.0, 1.0]), torch.tensor([True, False]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad[1] == 0
    assert iou_sum(logits, torch.zeros(2), torch.zeros(2, dtype=torch.bool)).item() == 0
