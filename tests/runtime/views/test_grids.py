"""Grids over a view: locations, shapes of maps, windows in the picture, samples of the mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from deepmask.runtime.model.folder import read_manifest
from deepmask.runtime.model.manifest import Axis, Grid, Scales, Views
from deepmask.runtime.views.geometry import (
    mask_coordinate,
    pixel_coordinate,
    window_extent,
)
from deepmask.runtime.views.grids import axis_size, location_counts, map_shape, window_boxes
from deepmask.runtime.views.views import View, plan_views

grids = st.builds(
    lambda stride, window, offset: Grid("g", "score", 0, stride, window, 16, offset),
    st.sampled_from([4, 8, 16, 32]),
    st.integers(1, 300),
    st.sampled_from([0.0, 0.5]),
)
Row = tuple[Grid, int, int, int]
sides = st.integers(1, 700)


def views_of(border: int, multiple: int) -> Views:
    return Views(Scales(-1, 1, 1), 640, False, border, 127.5, multiple)


@given(grids, sides, sides, st.floats(0.05, 4), st.integers(0, 300), st.integers(0, 300))
def test_a_box_is_the_window_of_its_location(
    grid: Grid, height: int, width: int, factor: float, row: int, col: int
) -> None:
    [view] = plan_views(height, width, (factor,), views_of(48, 32))
    boxes = window_boxes(np.array([row]), np.array([col]), [grid], [view])
    assert boxes.shape == (1, 4)
    assert boxes.dtype == np.float64
    for axis, index, ratio in ((0, row, view.ratio_y), (1, col, view.ratio_x)):
        start, length = boxes[0, axis], boxes[0, axis + 2]
        side = grid.sides[axis]
        assert start == (grid.stride * (index + grid.offset) - side / 2) / ratio
        assert length == side / ratio
        centre = (start + length / 2) * ratio
        assert_allclose(centre, grid.stride * (index + grid.offset), atol=1e-6)


@given(st.lists(st.tuples(grids, sides, st.integers(0, 99), st.integers(0, 99)), max_size=5))
def test_boxes_of_several_grids_are_each_their_own(rows: list[Row]) -> None:
    views = [plan_views(side, 2 * side, (0.7,), views_of(48, 32))[0] for _, side, _, _ in rows]
    row, col = (np.array([one[index] for one in rows], np.int64) for index in (2, 3))
    boxes = window_boxes(row, col, [grid for grid, *_ in rows], views)
    assert boxes.shape == (len(rows), 4)
    for index, (grid, *_) in enumerate(rows):
        part = slice(index, index + 1)
        alone = window_boxes(row[part], col[part], [grid], [views[index]])
        assert_array_equal(boxes[part], alone)


@given(grids, sides, sides, st.sampled_from([0, 32, 96]), st.sampled_from([32, 64, 128]))
def test_locations_on_maps(grid: Grid, height: int, width: int, border: int, multiple: int) -> None:
    """Every pixel of the view is within half a stride of a centre; the map may have more."""
    [view] = plan_views(height, width, (1.0,), views_of(border, multiple))
    counts = location_counts(view, grid)
    shape = map_shape(view, grid, border)
    canvas = (view.canvas_height - 2 * border, view.canvas_width - 2 * border)
    for count, on_map, side, length in zip(
        counts, shape, (view.height, view.width), canvas, strict=True
    ):
        last = grid.stride * (count - 1 + grid.offset)
        assert last - grid.stride < side <= last + grid.stride * (grid.offset or 0)
        assert on_map == length // grid.stride + (grid.offset == 0)
        assert count <= on_map


@pytest.mark.parametrize(
    ("length", "offset", "count", "on_map"),
    [(1, 0.0, 2, 5), (1, 0.5, 1, 4), (16, 0.0, 2, 5), (16, 0.5, 1, 4), (17, 0.0, 3, 5)],
)
def test_counts_by_hand(length: int, offset: float, count: int, on_map: int) -> None:
    """Stride 16 on a canvas of 64: a grid without offset has a location at both ends."""
    grid = Grid("g", "score", 0, 16, 64, 16, offset)
    [view] = plan_views(length, length, (1.0,), views_of(48, 64))
    assert location_counts(view, grid) == (count, count)
    assert map_shape(view, grid, 48) == (on_map, on_map)


@pytest.mark.parametrize(
    ("axis", "size"),
    [
        (7, 7),
        ("n", 3),
        ("height", 160),
        ("width", 192),
        ("height/16", 10),
        ("width/4", 48),
        ("rows", 5),
        ("cols", 7),
        ("any", 10 * 4 * 12 * 4),
    ],
)
def test_the_size_of_an_axis(model_folder: Path, axis: Axis, size: int) -> None:
    """Cells are counted over the canvas, rows and columns on the first grid's map."""
    view = View(1.0, 60, 90, 1.0, 1.0, 160, 192)
    manifest = read_manifest(model_folder)
    second = replace(manifest.grids[0], name="fine", stride=8)
    manifest = replace(manifest, grids=(*manifest.grids, second))
    assert axis_size(axis, view, manifest, 3) == size


sizes = st.sampled_from([2, 7, 16, 56, 160])
starts = st.floats(-3000, 3000)
lengths = st.floats(1, 4000)


@given(starts, lengths, sizes, st.floats(-2000, 2000))
def test_pixel_and_sample_are_inverse(start: float, length: float, size: int, pixel: float) -> None:
    coordinate = mask_coordinate(pixel, start, length, size)
    assert_allclose(pixel_coordinate(coordinate, start, length, size), pixel, atol=1e-6)


@given(starts, lengths, sizes)
def test_samples_share_the_window_evenly(start: float, length: float, size: int) -> None:
    ends = pixel_coordinate([-0.5, size - 0.5], start, length, size)
    assert_allclose(ends + 0.5, [start, start + length], atol=1e-6)
    centre = pixel_coordinate((size - 1) / 2, start, length, size)
    assert_allclose(centre + 0.5, start + length / 2, atol=1e-6)


def test_the_formula_of_the_paper_window() -> None:
    """One case by hand: 224 px window of location 3 at ratio 0.5, picture's pixel 99."""
    # (99.5 · 0.5 + 112 − 48) · 56/224 − 0.5
    assert mask_coordinate(99, (48 - 112) / 0.5, 224 / 0.5, 56) == pytest.approx(27.9375)


@given(starts, lengths, sizes, st.integers(1, 400))
def test_extent_is_the_pixels_in_it(start: float, length: float, size: int, limit: int) -> None:
    """Against asking every pixel; ties at the window's very edge may fall either way."""
    first, stop = window_extent(np.array([start]), np.array([length]), limit)
    pixels = np.arange(limit)
    coordinate = mask_coordinate(pixels, start, length, size)
    surely = (coordinate > -0.5 + 1e-6) & (coordinate < size - 0.5 - 1e-6)
    perhaps = (coordinate > -0.5 - 1e-6) & (coordinate < size - 0.5 + 1e-6)
    inside = (pixels >= first) & (pixels < stop)
    assert (inside[surely]).all()
    assert not inside[~perhaps].any()
    assert 0 <= first <= stop <= limit
