"""Views: pictures, boxes and outlines move together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from deepmask.networks.whole.bitmaps import paint_object, visible_box
from deepmask.networks.whole.view import FILL, paint, random_view, recoloured

SIZE = (120, 160)
CANVAS = (128, 128)


def drawn(box: tuple[int, int, int, int]) -> np.ndarray:
    """A white rectangle (x, y, width, height) on a black picture."""
    image = np.zeros((*SIZE, 3), np.uint8)
    x, y, width, height = box
    image[y : y + height, x : x + width] = 255
    return image


def polygon(box: tuple[int, int, int, int]) -> list[float]:
    """The rectangle's outline."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


boxes = st.tuples(st.integers(0, 110), st.integers(0, 80), st.integers(12, 50), st.integers(12, 40))


@given(box=boxes, seed=st.integers(0, 50), side=st.floats(60, 500))
def test_picture_outline_and_box_agree(
    box: tuple[int, int, int, int], seed: int, side: float
) -> None:
    rng = np.random.default_rng(seed)
    view = random_view(SIZE, CANVAS, side, (box[0] + box[2] / 2, box[1] + box[3] / 2), rng)
    seen = paint(drawn(box), view, CANVAS)[: view.height, : view.width, 0] > 127
    bitmap = paint_object([polygon(box)], SIZE, view, CANVAS)[: view.height, : view.width]
    # They differ along the outline only, by rounding.
    edge = 2 * (view.width + view.height)
    assert (seen != bitmap.astype(bool)).sum() <= edge
    x0, y0, x1, y1 = view.boxes(np.array([box], np.float64))[0]
    found = visible_box(bitmap)
    if bitmap.any():
        assert found[0] == pytest.approx(max(0, x0), abs=1.5)
        assert found[1] == pytest.approx(max(0, y0), abs=1.5)
        assert found[2] == pytest.approx(min(view.width, x1), abs=1.5)
        assert found[3] == pytest.approx(min(view.height, y1), abs=1.5)


@given(box=boxes, seed=st.integers(0, 20), side=st.floats(60, 400))
def test_run_lengths_and_polygons_agree(
    box: tuple[int, int, int, int], seed: int, side: float
) -> None:
    view = random_view(SIZE, CANVAS, side, None, np.random.default_rng(seed))
    runs = coco_mask.merge(coco_mask.frPyObjects([polygon(box)], *SIZE))
    a = paint_object([polygon(box)], SIZE, view, CANVAS)
    b = paint_object(runs, SIZE, view, CANVAS)
    assert (a != b).sum() <= 2 * (view.width + view.height)


@given(seed=st.integers(0, 200), side=st.floats(40, 700))
def test_the_canvas_never_leaves_the_picture(seed: int, side: float) -> None:
    view = random_view(SIZE, CANVAS, side, None, np.random.default_rng(seed))
    assert view.left >= 0
    assert view.top >= 0
    assert 0 < view.width <= CANVAS[1]
    assert 0 < view.height <= CANVAS[0]
    assert view.left + view.width <= round(side)


def test_what_the_picture_does_not_fill_is_fill() -> None:
    view = random_view(SIZE, CANVAS, 80, None, np.random.default_rng(0))
    out = paint(np.zeros((*SIZE, 3), np.uint8), view, CANVAS)
    assert (out[: view.height, : view.width] == 0).all()
    assert (out[view.height :] == FILL).all()
    assert (out[:, view.width :] == FILL).all()


def test_polygons_of_too_few_points_are_empty() -> None:
    view = random_view(SIZE, CANVAS, 160, None, np.random.default_rng(0))
    assert not paint_object([[1.0, 2.0, 3.0, 4.0]], SIZE, view, CANVAS).any()


def test_recolouring_keeps_size_and_type() -> None:
    image = drawn((10, 10, 30, 30))
    changed = recoloured(image, np.random.default_rng(3))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
