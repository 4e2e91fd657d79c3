"""Losses of names and boxes: values and gradients against a plain form in float64."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from deepmask.networks.boxes.losses import class_sum, offset_sum

Floats = NDArray[np.float64]


def plain_class(logits: Floats, category: NDArray[np.int64]) -> tuple[float, Floats]:
    """−log softmax of the right one, summed, and its gradient."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    chance = shifted / shifted.sum(1, keepdims=True)
    rows = np.arange(len(category))
    wanted = np.zeros_like(chance)
    wanted[rows, category] = 1
    return float(-np.log(chance[rows, category]).sum()), chance - wanted


def plain_offset(
    offsets: Floats, category: NDArray[np.int64], wanted: Floats
) -> tuple[float, Floats]:
    total, gradient = 0.0, np.zeros_like(offsets)
    for row, k in enumerate(category):
        if k:
            off = offsets[row, k - 1] - wanted[row]
            total += np.where(np.abs(off) < 1, off**2 / 2, np.abs(off) - 0.5).sum()
            gradient[row, k - 1] = np.clip(off, -1, 1)
    return total, gradient


def test_values_and_gradients_are_the_plain_forms() -> None:
    random = np.random.default_rng(0)
    logits, offsets = random.normal(0, 4, (40, 6)), random.normal(0, 2, (40, 5, 4))
    category, wanted = random.integers(0, 6, 40), random.normal(0, 2, (40, 4))
    assert (category == 0).any()
    given = [torch.from_numpy(x).float().requires_grad_() for x in (logits, offsets)]
    names = torch.from_numpy(category)
    losses = class_sum(given[0], names), offset_sum(given[1], names, torch.tensor(wanted).float())
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    plain = plain_class(logits, category), plain_offset(offsets, category, wanted)
    for tensor, loss, (value, gradient) in zip(given, losses, plain, strict=True):
        np.testing.assert_allclose(loss.item(), value, rtol=1e-5)
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=1e-5)
