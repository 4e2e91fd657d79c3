"""Focal loss: eq. 5.5, against a plain form in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deepmask.networks.focal import ALPHA, GAMMA, focal_sum


def plain(logit: float, label: int) -> float:
    """−α_t (1 − p_t)^γ log p_t."""
    if label < 0:
        return 0.0
    p = 1 / (1 + math.exp(-logit))
    right, alpha = (p, ALPHA) if label else (1 - p, 1 - ALPHA)
    return float(-alpha * (1 - right) ** GAMMA * math.log(right))


def test_values_and_gradients_are_the_equations() -> None:
    random = np.random.default_rng(0)
    values, labels = random.normal(0, 3, 60), random.integers(-1, 2, 60)
    logits = torch.from_numpy(values).float().requires_grad_()
    loss = focal_sum(logits, torch.from_numpy(labels))
    loss.backward()  # type: ignore[no-untyped-call]
    pairs = list(zip(values.tolist(), labels.tolist(), strict=True))
    assert loss.item() == pytest.approx(sum(plain(x, y) for x, y in pairs), rel=1e-5)
    assert logits.grad is not None
    slopes = [(plain(x + 1e-5, y) - plain(x - 1e-5, y)) / 2e-5 for x, y in pairs]
    np.testing.assert_allclose(logits.grad.numpy(), slopes, atol=1e-5)


def test_at_the_prior_background_costs_what_is_predicted() -> None:
    """π = 0.01 (§5.3): N anchors of background cost N · (1 − α) π² −log(1 − π) at the start."""
    prior = 0.01
    logits = torch.full((1000,), -math.log((1 - prior) / prior))
    expected = 1000 * (1 - ALPHA) * prior**GAMMA * -math.log(1 - prior)
    found = focal_sum(logits, torch.zeros(1000))
    assert found.item() == pytest.approx(expected, rel=1e-4)
