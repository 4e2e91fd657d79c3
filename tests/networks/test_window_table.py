"""Gathered windows equal slices of the padded maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from deepmask.networks.window_table import gather_windows, layout_of, table_of

MARGIN = 3
SIZES = ((9, 12), (5, 6), (3, 3))


def pyramid(batch: int = 2, channels: int = 4) -> list[torch.Tensor]:
    """Random maps of three levels."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, h, w, generator=generator) for h, w in SIZES]


@given(
    level=st.integers(0, 2),
    picture=st.integers(0, 1),
    size=st.integers(1, 6),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_window_is_a_slice_of_its_padded_level(
    level: int, picture: int, size: int, place: tuple[float, float]
) -> None:
    maps = pyramid()
    h, w = SIZES[level]
    # Any window that lies within the margin.
    i = round(place[0] * (h + 2 * MARGIN - size)) - MARGIN
    j = round(place[1] * (w + 2 * MARGIN - size)) - MARGIN
    layout = layout_of(maps, MARGIN)
    one = [torch.tensor([v]) for v in (level, picture, i, j)]
    first, pitch = layout.cell(*one)
    window = gather_windows(table_of(maps, MARGIN), first, pitch, size)
    padded = F.pad(maps[level], (MARGIN,) * 4)[picture]
    expected = padded[:, i + MARGIN : i + MARGIN + size, j + MARGIN : j + MARGIN + size]
    assert torch.equal(window[0], expected)


def test_windows_of_several_levels_gather_at_once() -> None:
    maps = pyramid()
    layout = layout_of(maps, MARGIN)
    level, picture = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 1])
    i, j = torch.tensor([0, 2, 4]), torch.tensor([11, 0, 3])
    first, pitch = layout.cell(level, picture, i, j)
    cells = gather_windows(table_of(maps, MARGIN), first, pitch, 1)[:, :, 0, 0]
    for k in range(3):
        assert torch.equal(cells[k], maps[level[k]][picture[k], :, i[k], j[k]])


def test_gradients_return_to_the_cells_that_were_read() -> None:
    maps = [m.requires_grad_() for m in pyramid(batch=1)]
    layout = layout_of(maps, MARGIN)
    zero = torch.zeros(1, dtype=torch.int64)
    first, pitch = layout.cell(zero, zero, zero - 1, zero - 1)
    gather_windows(table_of(maps, MARGIN), first, pitch, 3).sum().backward()  # type: ignore[no-untyped-call]
    expected = torch.zeros(SIZES[0])
    expected[:2, :2] = 1
    assert maps[0].grad is not None
    assert torch.equal(maps[0].grad[0, 0], expected)
    assert maps[1].grad is None or not maps[1].grad.any()
