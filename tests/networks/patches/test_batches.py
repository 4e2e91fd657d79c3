"""Batches of patches: what they hold is decided by seed and step alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepmask.networks.patches.batches import ScoredPatchBatches, augment
from deepmask.train.prefetch import prefetch

Maker = Callable[..., ScoredPatchBatches]


def test_batches_depend_on_seed_and_step_only(maker: Maker) -> None:
    first, again = maker()(5), maker()(5)
    assert torch.equal(first.patches, again.patches)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.patches, maker(seed=1)(5).patches)
    ordered = list(prefetch(maker(), range(3, 7), threads=3, ahead=3))
    assert all(
        torch.equal(b.patches, maker()(k).patches)
        for k, b in zip(range(3, 7), ordered, strict=True)
    )


def test_a_pinned_batch_is_the_same_batch(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for page-locked memory, which only a machine with a GPU has."""
    pinned: list[Tensor] = []

    def pin_memory(tensor: Tensor) -> Tensor:
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    batch = maker()(0)
    copy = batch.pinned()
    assert copy.counts == batch.counts
    for name in ("patches", "masks", "labels", "colours"):
        assert any(getattr(copy, name) is tensor for tensor in pinned)
        torch.testing.assert_close(getattr(copy, name), getattr(batch, name), equal_nan=True)


def test_colour_changes_keep_range_and_identity() -> None:
    patches = 255 * torch.rand(3, 3, 8, 8)
    same_colours = augment(patches, torch.tensor([[0.0, 1.0, 1.0]] * 3))
    torch.testing.assert_close(same_colours, patches, atol=1e-3, rtol=0)
    gray = augment(patches, torch.tensor([[0.0, 1.0, 0.0]] * 3))
    torch.testing.assert_close(gray[:, 0], gray[:, 2])
    loud = augment(patches, torch.tensor([[90.0, 3.0, 2.0]] * 3))
    assert loud.min() >= 0
    assert loud.max() <= 255
