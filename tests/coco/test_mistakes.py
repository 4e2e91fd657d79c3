"""Numbers that mean something else are recognised; those that are a little off are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmask.coco.mistakes import mismatch, odd_area
from deepmask.coco.values import Box

WIDTH, HEIGHT = 640, 480
RIGHT: Box = (100.0, 60.0, 200.0, 90.0)


def scaled(box: Box, unit: float) -> Box:
    x, y, w, h = box
    return x * unit / WIDTH, y * unit / HEIGHT, w * unit / WIDTH, h * unit / HEIGHT


def corners(box: Box) -> Box:
    x, y, w, h = box
    return x, y, x + w, y + h


def centred(box: Box) -> Box:
    x, y, w, h = box
    return x + w / 2, y + h / 2, w, h


@pytest.mark.parametrize(
    ("box", "text"),
    [
        (corners(RIGHT), "bbox looks like corners x1, y1, x2, y2"),
        (centred(RIGHT), "bbox looks like the centre and size"),
        ((60.0, 100.0, 90.0, 200.0), "bbox looks like y, x, height, width"),
        (scaled(RIGHT, 1), "bbox looks like fractions of the picture"),
        (scaled(RIGHT, 100), "bbox looks like percent"),
        (scaled(corners(RIGHT), 1), "bbox looks like corners in fractions"),
        (scaled(centred(RIGHT), 1), "bbox looks like the centre and size in fractions"),
        ((0.1, 0.1, 0.1, 0.1), "bbox looks like fractions of the picture"),
        ((400.0, 300.0, 50.0, 50.0), "are of different places"),
    ],
)
def test_boxes(box: Box, text: str) -> None:
    assert text in mismatch(box, RIGHT, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("outline", "text"),
    [
        (scaled(RIGHT, 1), "the outline looks like fractions of the picture"),
        (scaled(RIGHT, 100), "the outline looks like percent"),
        ((60.0, 100.0, 90.0, 200.0), "looks like y, x"),
        ((0.1, 0.1, 0.1, 0.1), "the outline looks like fractions"),
    ],
)
def test_outlines(outline: Box, text: str) -> None:
    assert text in mismatch(RIGHT, outline, WIDTH, HEIGHT)


@given(
    st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(1, 200), st.floats(1, 150)),
    st.tuples(*[st.floats(-1.9, 1.9)] * 4),
)
def test_rounding_is_no_mistake(box: Box, off: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = (a + b for a, b in zip(corners(box), off, strict=True))
    assert not mismatch(box, (x0, y0, max(x1 - x0, 0), max(y1 - y0, 0)), WIDTH, HEIGHT)


@given(
    st.tuples(st.floats(20, 300), st.floats(20, 200), st.floats(30, 200), st.floats(30, 150)),
)
def test_boxes_of_what_is_hidden_fit(box: Box) -> None:
    x, y, w, h = box
    part = (x + w * 0.3, y + h * 0.1, w * 0.3, h * 0.85)
    assert "different places" not in mismatch(box, part, WIDTH, HEIGHT)
    assert "different places" not in mismatch(part, box, WIDTH, HEIGHT)


@pytest.mark.parametrize("area", [5000, 1500, 18_000, 40_000])
def test_areas_that_may_be(area: float) -> None:
    assert not odd_area(area, 12_000, RIGHT, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("area", "text"),
    [
        (0, "is not near its mask's, 12000"),
        (1e6, "is not near its mask's, 12000"),
        (12_000 / WIDTH / HEIGHT, "looks like a fraction of the picture's"),
    ],
)
def test_areas_that_cannot_be(area: float, text: str) -> None:
    assert odd_area(area, 12_000, RIGHT, WIDTH, HEIGHT) == text
