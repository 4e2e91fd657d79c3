"""The exportable form of `fpn-lite` computes what the network does."""

from __future__ import annotations

import pytest
import torch

from deepmask.networks.dense.fpn_lite import MaskStage, ScoreStage
from deepmask.networks.fpn_lite import FpnLite, FpnLiteConfig, Windows
from deepmask.networks.levels import SLOTS, grids

TINY = FpnLiteConfig(trunk=0, width=8, context=4, code=16, fine=6, last=4, second=8)


@pytest.fixture(scope="module")
def network() -> FpnLite:
    """A small network in double precision."""
    torch.manual_seed(0)
    return FpnLite(TINY).double().eval()


@torch.no_grad()
def test_flat_scores_are_in_the_order_of_the_grids(network: FpnLite) -> None:
    image = torch.rand(1, 3, 128, 256).double() * 255
    objectness, quality, _, _ = ScoreStage(network)(image)
    dense = network.dense(image)
    maps = [m[0, slot] for m in dense.objectness for slot in range(len(SLOTS))]
    assert len(maps) == len(grids())
    start = 0
    for grid, expected in zip(grids(), maps, strict=True):
        rows, columns = 128 // grid.stride, 256 // grid.stride
        part = objectness[start : start + rows * columns].view(rows, columns)
        torch.testing.assert_close(part, expected)
        start += rows * columns
    assert len(objectness) == len(quality) == start


@pytest.mark.parametrize("slot", [0, 1])
@torch.no_grad()
def test_masks_of_windows_of_all_levels_at_once(network: FpnLite, slot: int) -> None:
    image = torch.rand(1, 3, 256, 128).double() * 255
    _, _, context, fine = ScoreStage(network)(image)
    dense = network.dense(image)
    level = torch.arange(5)
    zero = torch.zeros(5, dtype=torch.int64)
    windows = Windows(level, zero, torch.tensor([31, 7, 0, 2, 1]), torch.tensor([0, 7, 3, 1, 0]))
    shape = SLOTS[slot]
    context_at = dense.context_layout.cell(
        level, zero, windows.i - shape.context // 2, windows.j - shape.context // 2
    )
    fine_at = dense.fine_layout.cell(
        level, zero, 2 * windows.i + 1 - shape.fine // 2, 2 * windows.j + 1 - shape.fine // 2
    )
    scores = torch.randn(5, 2).double()
    given = MaskStage(network, slot)(
        context, fine, torch.stack(context_at, 1), torch.stack(fine_at, 1), scores
    )
    for a, b in zip(given, network.masks(dense, windows, slot, scores), strict=True):
        torch.testing.assert_close(a, b)
