"""Equation 1, computed by hand, and validation against the truth itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.losses import mask_loss, score_loss
from deepmask.train.losses import validate
from tests.train.small import CPU, Maker


def test_mask_loss_is_the_mean_logistic_loss() -> None:
    logits = torch.tensor([[[2.0, -1.0], [0.0, 3.0]]])
    masks = torch.tensor([[[1, 0], [1, 0]]], dtype=torch.uint8)
    terms = [math.log1p(math.exp(-m * f)) for m, f in ((1, 2.0), (-1, -1.0), (1, 0.0), (-1, 3.0))]
    assert mask_loss(logits, masks).item() == pytest.approx(sum(terms) / 4)


def test_mask_loss_upsamples_bilinearly() -> None:
    logits = torch.tensor([[[0.0, 4.0], [0.0, 4.0]]])  # 2 samples to 4: at 0, 1/4, 3/4 and 1
    terms = [math.log1p(math.exp(-f)) for f in (0.0, 1.0, 3.0, 4.0)]
    assert mask_loss(logits, torch.ones(1, 4, 4)).item() == pytest.approx(sum(terms) / 4)


def test_score_loss_weighs_classes_alike_and_leaves_unlabelled_out() -> None:
    logits = torch.tensor([1.0, 2.0, -3.0, 50.0])
    labels = torch.tensor([1.0, 1.0, 0.0, math.nan])
    positive = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-2.0))) / 2
    negative = math.log1p(math.exp(-3.0))
    assert score_loss(logits, labels).item() == pytest.approx((positive + negative) / 2)


def test_score_loss_without_labels_is_zero_with_a_gradient() -> None:
    logits = torch.tensor([1.0], requires_grad=True)
    loss = score_loss(logits, torch.tensor([math.nan]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.item() == 0


def test_validation_of_a_perfect_network_is_one(maker: Maker, tiny_model: DeepMaskConfig) -> None:
    """A network that answers with the truth itself measures IoU 1 and accuracy 1."""
    batch = maker()(0)

    class Oracle(DeepMaskNetwork):
        def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
            scores = batch.labels.nan_to_num(1.0) * 2 - 1
            masks = torch.zeros(len(patches), 28, 28)
            masks[: len(batch.masks)] = batch.masks.float() * 2 - 1
            return masks, scores

    quality = validate(Oracle(tiny_model), [batch], CPU)
    assert quality == {"mask_iou": 1, "score_accuracy": 1}
