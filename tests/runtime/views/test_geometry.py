"""Location → window → image and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from deepmask.runtime.views.geometry import (
    WindowGrid,
    bilinear_taps,
    canvas_length,
    image_coordinate,
    location_count,
    mask_coordinate,
    window_extent,
)

grids = st.sampled_from([WindowGrid(224, 16, 56), WindowGrid(160, 16, 56), WindowGrid(64, 16, 16)])
ratios = st.floats(0.05, 4)


@given(grids, ratios, st.integers(0, 300), st.floats(-2000, 2000))
def test_image_and_mask_coordinates_are_inverse(
    grid: WindowGrid, ratio: float, location: int, pixel: float
) -> None:
    """There and back, for any window."""
    coordinate = mask_coordinate(pixel, location, ratio, grid)
    assert_allclose(image_coordinate(coordinate, location, ratio, grid), pixel, atol=1e-6)


@given(grids, ratios, st.integers(0, 300))
def test_window_centre_is_stride_times_location(
    grid: WindowGrid, ratio: float, location: int
) -> None:
    """A mask's centre is at stride · i of the scaled image, its ends ± patch/2 from there."""
    centre = image_coordinate((grid.mask_size - 1) / 2, location, ratio, grid)
    assert_allclose((centre + 0.5) * ratio, grid.stride * location, atol=1e-6)
    ends = image_coordinate([-0.5, grid.mask_size - 0.5], location, ratio, grid)
    assert_allclose(ratio * np.diff(ends), grid.patch)


def test_the_formula_of_the_paper_window() -> None:
    """One case by hand: 224 px window of location 3 at ratio 0.5, image pixel 99."""
    grid = WindowGrid(224, 16, 56)
    # (99.5 · 0.5 + 112 − 48) · 56/224 − 0.5
    assert mask_coordinate(99, 3, 0.5, grid) == pytest.approx(27.9375)


@given(grids, ratios, st.integers(0, 60), st.integers(1, 400))
def test_extent_is_the_pixels_whose_centres_lie_in_the_window(
    grid: WindowGrid, ratio: float, location: int, length: int
) -> None:
    """Against asking every pixel; ties at the window's very edge may fall either way."""
    start, stop = window_extent(np.array([location]), np.array([ratio]), length, grid)
    pixels = np.arange(length)
    coordinate = mask_coordinate(pixels, location, ratio, grid)
    surely = (coordinate > -0.5 + 1e-6) & (coordinate < grid.mask_size - 0.5 - 1e-6)
    perhaps = (coordinate > -0.5 - 1e-6) & (coordinate < grid.mask_size - 0.5 + 1e-6)
    inside = (pixels >= start) & (pixels < stop)
    assert (inside[surely]).all()
    assert not inside[~perhaps].any()
    assert 0 <= start <= stop <= length


@given(st.integers(1, 5000), st.sampled_from([80, 96, 112, 128]))
def test_canvas_holds_every_window(length: int, border: int) -> None:
    """Locations cover the scaled image and the first and last window lie within the canvas."""
    count = location_count(length, 16)
    assert 16 * (count - 2) < length <= 16 * (count - 1)
    assert border + 16 * (count - 1) + border == canvas_length(length, 16, border)


@given(st.floats(-5, 20), st.integers(2, 16))
def test_taps_interpolate_and_clamp(coordinate: float, size: int) -> None:
    """Taps read the straight line as it is, and its end values beyond its ends."""
    knot, before, after = bilinear_taps(np.array([coordinate]), size)
    line = 3 * np.arange(size)
    value = before * line[knot] + after * line[knot + 1]
    assert_allclose(value, [3 * np.clip(coordinate, 0, size - 1)], atol=1e-4)
