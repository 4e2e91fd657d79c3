"""Numbers and names on the masks of a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from deepmask.runtime.io.overlay import draw_masks
from tests.runtime.io.blobs import encoded


@pytest.fixture
def picture() -> npt.NDArray[np.uint8]:
    return np.full((120, 200, 3), 90, np.uint8)


def test_names_stand_behind_the_numbers(picture: npt.NDArray[np.uint8]) -> None:
    mask = np.zeros((120, 200), np.bool_)
    mask[20:101, 60:141] = True
    plain = draw_masks(picture, [encoded(mask)])
    named = draw_masks(picture, [encoded(mask)], ["zebra"])
    changed = np.argwhere((plain != named).any(axis=2))
    assert len(changed) > 100  # a wider plate, around the same place
    assert np.abs(changed.mean(axis=0) - (60, 100)).max() < 6
    for unnamed in ([""], ["собака"]):
        assert_array_equal(draw_masks(picture, [encoded(mask)], unnamed), plain)
