"""Window → pixels of the picture → samples of the mask, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from deepmask.runtime.views.geometry import (
    bilinear_taps,
    mask_coordinate,
    pixel_coordinate,
    window_extent,
)

sizes = st.sampled_from([2, 7, 16, 56, 160])
starts = st.floats(-3000, 3000)
lengths = st.floats(1, 4000)


@given(starts, lengths, sizes, st.floats(-2000, 2000))
def test_pixels_and_samples_are_inverse(
    start: float, length: float, size: int, pixel: float
) -> None:
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
def test_extent_is_the_pixels_whose_centres_lie_in_the_window(
    start: float, length: float, size: int, limit: int
) -> None:
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


@given(st.floats(-5, 20), st.integers(2, 16))
def test_taps_interpolate_and_clamp(coordinate: float, size: int) -> None:
    knot, before, after = bilinear_taps(np.array([coordinate]), size)
    line = 3 * np.arange(size)
    value = before * line[knot] + after * line[knot + 1]
    assert_allclose(value, [3 * np.clip(coordinate, 0, size - 1)], atol=1e-4)
