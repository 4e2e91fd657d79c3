"""Numbers and names on the masks of a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from deepmask.runtime.io.overlay import draw_boxes, draw_masks
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


def test_boxes_are_framed_with_their_name_in_the_corner(picture: npt.NDArray[np.uint8]) -> None:
    boxes = np.array([[60.5, 20.25, 80.0, 81.0], [150.0, 100.0, 50.0, 20.0]])
    plain, named = draw_boxes(picture, boxes), draw_boxes(picture, boxes, ["zebra", ""])
    changed = (plain != picture).any(axis=2)
    assert changed[40:100, 59:62].any(axis=1).all()
    assert changed[100:103, 70:140].any(axis=0).all()
    assert not changed[45:95, 90:135].any()
    assert not changed[:17].any()
    assert changed[-1, 150:].all()  # one that ends with the picture
    rows, columns = np.nonzero((plain != named).any(axis=2))
    assert len(rows) > 100
    assert rows.max() < 50
    assert columns.min() > 55
    assert_array_equal(draw_boxes(picture, boxes[:0]), picture)
    with pytest.raises(ValueError, match="image is"):
        draw_boxes(picture[..., 0], boxes)
