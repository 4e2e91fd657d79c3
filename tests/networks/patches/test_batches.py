"""Batches of patches: what they hold is decided by seed and step alone."""

from __future__ import annotations

import torch

from deepmask.networks.patches.batches import augment
from deepmask.train.loop import prefetch
from tests.train.small import Maker


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


def test_colour_changes_keep_range_and_identity() -> None:
    patches = 255 * torch.rand(3, 3, 8, 8)
    same_colours = augment(patches, torch.tensor([[0.0, 1.0, 1.0]] * 3))
    torch.testing.assert_close(same_colours, patches, atol=1e-3, rtol=0)
    gray = augment(patches, torch.tensor([[0.0, 1.0, 0.0]] * 3))
    torch.testing.assert_close(gray[:, 0], gray[:, 2])
    loud = augment(patches, torch.tensor([[90.0, 3.0, 2.0]] * 3))
    assert loud.min() >= 0
    assert loud.max() <= 255
