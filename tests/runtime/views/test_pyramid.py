"""Which sizes an image is seen at, and what the trunk is shown."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask import DeepMask
from deepmask.runtime.views.pyramid import plan_pyramid, render_level
from tests.runtime.square_model import BORDER, FILL

FACTORS = tuple(2.0**k for k in (-2.5, -1, 0, 0.5))


@given(st.integers(1, 6000), st.integers(1, 6000))
def test_plan(model: DeepMask, height: int, width: int) -> None:
    """Whole cells, no side over the limit at scale 1, no size twice."""
    levels = plan_pyramid(height, width, FACTORS, model.manifest, max_side=800)
    sizes = [(level.height, level.width) for level in levels]
    assert len(set(sizes)) == len(sizes)
    assert max(max(size) for size in sizes) <= round(800 * 2**0.5)
    for level in levels:
        assert level.canvas_height % 16 == 0
        assert level.canvas_width % 16 == 0
        assert 16 * (level.rows - 1) + 2 * BORDER == level.canvas_height
        assert 16 * (level.cols - 1) + 2 * BORDER == level.canvas_width
        assert level.ratio_y == level.height / height
        assert level.ratio_x == level.width / width


@settings(max_examples=20)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(FACTORS))
def test_canvas_is_the_picture_in_gray(
    model: DeepMask, height: int, width: int, factor: float
) -> None:
    """Colours in RGB planes at the border's offset, the fill all around."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (200, 100, 50)
    [level] = plan_pyramid(height, width, (factor,), model.manifest)
    canvas = render_level(image, level, model.manifest)
    assert canvas.dtype == np.float32
    assert canvas.shape == (1, 3, level.canvas_height, level.canvas_width)
    inside = np.zeros(canvas.shape[2:], np.bool_)
    inside[BORDER : BORDER + level.height, BORDER : BORDER + level.width] = True
    assert (canvas[0][:, ~inside] == FILL).all()
    assert (canvas[0][:, inside] == np.array([[200], [100], [50]])).all()


def test_scale_one_is_the_image_itself(model: DeepMask) -> None:
    """No resampling where there is no scaling."""
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8)
    [level] = plan_pyramid(33, 47, (1.0,), model.manifest)
    canvas = render_level(image, level, model.manifest)
    inside = canvas[0, :, BORDER : BORDER + 33, BORDER : BORDER + 47]
    np.testing.assert_array_equal(inside.transpose(1, 2, 0), image)
