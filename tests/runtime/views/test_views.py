"""Which sizes a picture is seen at, and what the network is shown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask.runtime.model.manifest import Scales, Views
from deepmask.runtime.views.views import View, canvas_shape, plan_views, render_view

BORDER, FILL = 48, 127.5
VIEWS = Views(Scales(-2, 1, 0.5), 800, False, BORDER, FILL, 16)
FACTORS = tuple(2.0**k for k in (-2.5, -1, 0, 0.5))


def views_of(
    border: int = BORDER, multiple: int = 16, enlarge: bool = False, max_side: int = 800
) -> Views:
    return Views(VIEWS.scales, max_side, enlarge, border, FILL, multiple)


def inside(canvas: npt.NDArray[np.float32], view: View, border: int) -> npt.NDArray[np.float32]:
    """The picture on a canvas: (height, width, 3)."""
    rows, cols = slice(border, border + view.height), slice(border, border + view.width)
    return canvas[0, :, rows, cols].transpose(1, 2, 0)


@given(
    st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([0, 48]), st.sampled_from([16, 32])
)
def test_plan(height: int, width: int, border: int, multiple: int) -> None:
    views = plan_views(height, width, FACTORS, views_of(border, multiple))
    sizes = [(view.height, view.width) for view in views]
    assert len(set(sizes)) == len(sizes)
    assert sizes == sorted(sizes)
    assert max(max(size) for size in sizes) <= round(800 * 2**0.5)
    for view in views:
        for canvas, side in ((view.canvas_height, view.height), (view.canvas_width, view.width)):
            assert (canvas - 2 * border) % multiple == 0
            assert 0 <= canvas - 2 * border - side < multiple
        assert view.ratio_y == view.height / height
        assert view.ratio_x == view.width / width


@pytest.mark.parametrize(
    ("enlarge", "given_side", "size"),
    [
        (False, None, (100, 200)),
        (True, None, (400, 800)),
        (False, 150, (75, 150)),
        (True, 150, (75, 150)),
        (True, 300, (150, 300)),
    ],
)
def test_scale_one(enlarge: bool, given_side: int | None, size: tuple[int, int]) -> None:
    [view] = plan_views(100, 200, (1.0,), views_of(enlarge=enlarge), given_side)
    assert (view.height, view.width) == size


@settings(max_examples=20)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(FACTORS))
def test_canvas_is_the_picture_in_gray(height: int, width: int, factor: float) -> None:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (200, 100, 50)
    [view] = plan_views(height, width, (factor,), VIEWS)
    canvas = render_view(image, view, VIEWS)
    assert canvas.dtype == np.float32
    assert canvas.shape == canvas_shape(view) == (1, 3, view.canvas_height, view.canvas_width)
    painted = np.zeros(canvas.shape[2:], np.bool_)
    painted[BORDER : BORDER + view.height, BORDER : BORDER + view.width] = True
    assert (canvas[0][:, ~painted] == FILL).all()
    assert (canvas[0][:, painted] == np.array([[200], [100], [50]])).all()


def test_a_given_canvas_is_painted_over() -> None:
    image = np.random.default_rng(1).integers(0, 256, (33, 47, 3)).astype(np.uint8)
    [view] = plan_views(33, 47, (0.5,), VIEWS)
    used = np.full(canvas_shape(view), np.nan, np.float32)
    assert render_view(image, view, VIEWS, used) is used
    np.testing.assert_array_equal(used, render_view(image, view, VIEWS))


def test_scale_one_is_the_picture_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8)
    [view] = plan_views(33, 47, (1.0,), VIEWS)
    np.testing.assert_array_equal(inside(render_view(image, view, VIEWS), view, BORDER), image)


def test_shrinking_averages_and_makes_no_pattern() -> None:
    """A fine checkerboard a quarter the size is even gray: every pixel counts, none is skipped."""
    rows, cols = np.mgrid[:64, :96]
    board = np.where((rows // 2 + cols // 2) % 2, 255, 0).astype(np.uint8)
    image = np.repeat(board[:, :, None], 3, axis=2)
    for factor in (0.25, 0.125):
        [view] = plan_views(64, 96, (factor,), VIEWS)
        shown = inside(render_view(image, view, VIEWS), view, BORDER)
        assert shown.min() >= 127
        assert shown.max() <= 128
    # Sampling two neighbours, as for enlarging, would miss three dots of four.
    dots = np.zeros((64, 96, 3), np.uint8)
    dots[::4, ::4] = 160
    [view] = plan_views(64, 96, (0.25,), VIEWS)
    shown = inside(render_view(dots, view, VIEWS), view, BORDER)
    np.testing.assert_allclose(shown, 10, atol=1)


def test_enlarging_is_bilinear() -> None:
    """Between two pixels lie values between theirs; blocks, as of averaging, are not."""
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 200
    [view] = plan_views(1, 2, (4.0,), VIEWS)
    shown = inside(render_view(image, view, VIEWS), view, BORDER)
    assert shown[0, :, 0].tolist() == [0, 0, 25, 75, 125, 175, 200, 200]
