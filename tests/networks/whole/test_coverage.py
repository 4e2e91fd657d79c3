"""Mask targets pasted back are the object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepmask.networks.levels import SLOTS, STRIDES
from deepmask.networks.whole.coverage import coverage, mask_ious, mask_targets

CANVAS = 256


def one(*values: int) -> tuple[Any, ...]:
    """Each value as a tensor of one window."""
    return tuple(torch.tensor([v]) for v in values)


@given(
    level=st.integers(0, 2),
    slot=st.integers(0, 1),
    i=st.integers(0, 7),
    j=st.integers(0, 7),
    corner=st.tuples(st.integers(0, 15), st.integers(0, 15)),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
)
def test_a_square_pasted_back_is_the_square(
    level: int, slot: int, i: int, j: int, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    """Squares of whole fine cells: what the window covers of them, and nothing else."""
    pixel = STRIDES[level] // 2
    i, j = i % (CANVAS // STRIDES[level]), j % (CANVAS // STRIDES[level])
    bitmap = np.zeros((1, CANVAS, CANVAS), np.uint8)
    y, x = (c * pixel for c in corner)
    bitmap[0, y : y + size[0] * pixel, x : x + size[1] * pixel] = 1
    picture, row, col = one(0, i, j)
    share, seen = mask_targets(coverage(bitmap)[level][slot], picture, slot, row, col)

    samples = SLOTS[slot].samples
    side = SLOTS[slot].fine * pixel
    top, left = (int((v + 0.5) * STRIDES[level]) - side // 2 for v in (i, j))
    pasted = np.zeros((CANVAS + 2 * side, CANVAS + 2 * side))
    cells = share[0].numpy()[::samples, ::samples]
    np.testing.assert_array_equal(share[0].numpy(), np.kron(cells, np.ones((samples, samples))))
    block = np.kron(cells, np.ones((pixel, pixel)))
    pasted[top + side : top + 2 * side, left + side : left + 2 * side] = block
    window = np.zeros_like(pasted)
    window[top + side : top + 2 * side, left + side : left + 2 * side] = 1
    expected = np.pad(bitmap[0], side) * window
    np.testing.assert_allclose(pasted, expected, atol=1e-6)
    beyond = np.pad(np.ones((CANVAS, CANVAS)), side) * window
    assert seen.sum() * pixel**2 == beyond.sum() * samples**2


def test_shares_of_half_covered_pixels_are_half() -> None:
    bitmap = np.zeros((1, CANVAS, CANVAS), np.uint8)
    bitmap[0, :, :101] = 1
    for slots, stride in zip(coverage(bitmap), STRIDES, strict=True):
        for maps, slot in zip(slots, SLOTS, strict=True):
            sample = stride / (2 * slot.samples)
            share = 101 % sample / sample
            assert maps[0, 0, int(101 // sample)].item() == pytest.approx(share * 255, abs=3)


@pytest.mark.parametrize("slot", [0, 1])
def test_ious_are_counted_in_pixels(slot: int) -> None:
    """A mask that equals an object has IoU 1 with it and the areas' ratio with one around it."""
    stride = STRIDES[1]
    bitmaps = np.zeros((2, CANVAS, CANVAS), np.uint8)
    bitmaps[0, 120:152, 120:152] = 1
    bitmaps[1, 104:168, 104:168] = 1
    maps = coverage(bitmaps)[1][slot]
    picture, row, col = one(0, 8, 8)
    share, _ = mask_targets(maps, picture, slot, row, col)
    areas = torch.from_numpy(bitmaps.sum((1, 2)).astype(np.float32))
    ious = mask_ious(share * 2 - 1, maps, areas, slot, row, col, stride)
    torch.testing.assert_close(ious, torch.tensor([[1.0, 0.25]]))


def test_what_lies_beyond_the_view_is_not_counted() -> None:
    bitmaps = np.zeros((1, CANVAS, CANVAS), np.uint8)
    bitmaps[0, :16, :16] = 1
    areas = torch.tensor([256.0])
    everywhere = torch.ones(1, SLOTS[0].mask, SLOTS[0].mask)
    row, col = one(0, 0)
    ious = mask_ious(everywhere, coverage(bitmaps)[0][0], areas, 0, row, col, STRIDES[0])
    # The window reaches 28 px into the view: 4 px of its half lie on the other side of its centre.
    assert ious.item() == pytest.approx(256 / 28**2)


def test_no_objects_no_ious() -> None:
    maps = coverage(np.zeros((0, CANVAS, CANVAS), np.uint8))[2][1]
    logits = torch.zeros(3, SLOTS[1].mask, SLOTS[1].mask)
    zero = torch.zeros(3, dtype=torch.int64)
    assert mask_ious(logits, maps, torch.zeros(0), 1, zero, zero, STRIDES[2]).shape == (3, 0)
