"""Views painted by the graph are those that OpenCV paints, to one gray level."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask.runtime.model.manifest import Scales, Views
from deepmask.runtime.views.view_graph import ACROSS, DOWN, PICTURE, intervals, view_graph
from deepmask.runtime.views.views import plan_views, render_view


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    graph = view_graph(127.5, "image")
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@settings(max_examples=60, deadline=None)
@given(
    *(st.integers(0, 99), st.integers(1, 150), st.integers(1, 150), st.floats(-2.5, 1.5)),
    *(st.sampled_from([1, 16, 128]), st.sampled_from([0, 16]), st.booleans()),
)
def test_views_are_those_of_opencv(
    session: ort.InferenceSession,
    seed: int,
    height: int,
    width: int,
    power: float,
    multiple: int,
    border: int,
    enlarge: bool,
) -> None:
    """Where the picture shrinks to a whole fraction, and where nothing changes, to the bit."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (1 + height // 9, 1 + width // 9, 3)).astype(np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    views = Views(Scales(0, 0, 0.5), 150, enlarge, border, 127.5, multiple)
    for view in plan_views(height, width, (2.0**power, 1.0, 0.5), views):
        down, across = intervals((height, width), view, views)
        [canvas] = session.run(None, {PICTURE: image, DOWN: down, ACROSS: across})
        expected = render_view(image, view, views)
        assert canvas.shape == expected.shape
        difference = np.abs(canvas - expected)
        assert difference.max() <= 1
        if height % view.height == width % view.width == 0 and view.height <= height:
            assert difference.mean() < 0.01
        beside = np.ones(expected.shape[2:], np.bool_)
        beside[border : border + view.height, border : border + view.width] = False
        assert (canvas[0, :, beside] == 127.5).all()


def test_intervals_cover_the_picture_once() -> None:
    views = Views(Scales(0, 0, 0.5), 100, False, 8, 127.0, 16)
    [view] = plan_views(90, 60, (0.37,), views)
    for side, (found, samples, canvas) in enumerate(
        zip(
            intervals((90, 60), view, views),
            (view.height, view.width),
            (view.canvas_height, view.canvas_width),
            strict=True,
        )
    ):
        assert found.shape == (canvas, 4)
        inside = found[8 : 8 + samples]
        assert inside[0, 0] == 0
        np.testing.assert_allclose(inside[-1, 1], (90, 60)[side], rtol=1e-6)
        np.testing.assert_allclose(inside[1:, 0], inside[:-1, 1], rtol=1e-5)
        np.testing.assert_allclose((inside[:, 1] - inside[:, 0]) * inside[:, 2], 1, rtol=1e-4)
        assert not found[:8].any()
        assert not found[8 + samples :].any()
