"""Geometry of the windows of `fpn-lite`."""

from __future__ import annotations

import itertools

import pytest

from deepmask.networks.levels import SLOTS, STRIDES, Grid, grids


def test_grids_are_all_slots_of_all_levels() -> None:
    rows = grids()
    assert len(rows) == len(SLOTS) * len(STRIDES)
    assert len({g.name for g in rows}) == len(rows)
    assert [g.stride for g in rows] == sorted(g.stride for g in rows)


def test_neighbouring_scales_are_half_an_octave_apart() -> None:
    scales = sorted(g.scale for g in grids())
    for small, large in itertools.pairwise(scales):
        assert large / small == pytest.approx(2**0.5)


@pytest.mark.parametrize("grid", grids(), ids=lambda g: g.name)
def test_a_window_holds_its_largest_object_half_a_cell_off_centre(grid: Grid) -> None:
    """An object a quarter octave over the canonical size, at the farthest nearest location."""
    largest = grid.scale * 2**0.25
    assert largest / 2 + grid.stride / 2 <= grid.window / 2 + 1e-9


@pytest.mark.parametrize("grid", grids(), ids=lambda g: g.name)
def test_all_masks_have_one_size_and_its_samples_divide_a_fine_cell(grid: Grid) -> None:
    assert grid.mask_size == 48
    assert grid.mask_size * grid.stride % (2 * grid.window) == 0


def test_regions_are_whole_cells() -> None:
    for slot in SLOTS:
        assert slot.context % 2 == 1, "the location is the middle cell"
        assert slot.fine % 2 == 0, "the location is a corner of four finer cells"
