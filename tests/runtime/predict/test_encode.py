"""Encoded masks are those of the runs, in order, and so are their boxes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deepmask.runtime.io import rle
from deepmask.runtime.predict.encode import encode_masks
from tests.runtime.plain_paste import paste

SIZE = (120, 400)


@pytest.mark.parametrize("threads", [1, 3])
def test_parts_of_windows_are_joined_in_order(threads: int) -> None:
    rng = np.random.default_rng(5)
    windows = np.hstack([rng.uniform(-20, 300, (300, 2)), rng.uniform(5, 200, (300, 2))])
    logits = rng.normal(size=(300, 14, 14)).astype(np.float32)
    masks, boxes = encode_masks(logits, 0.0, windows, SIZE, threads)
    assert len(masks) == len(boxes) == 300
    for index in range(0, 300, 7):
        expected = paste(logits[index], 0.0, windows[index], SIZE)
        assert_array_equal(rle.to_array(masks[index]), expected)
        x, y, width, height = boxes[index].astype(int)
        ys, xs = np.nonzero(expected)
        if len(xs):
            assert (x, y) == (xs.min(), ys.min())
            assert (x + width, y + height) == (xs.max() + 1, ys.max() + 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_windows_give_no_masks(threads: int) -> None:
    masks, boxes = encode_masks(np.empty((0, 14, 14)), 0.0, np.empty((0, 4)), SIZE, threads)
    assert masks == []
    assert boxes.shape == (0, 4)
