"""A painted square at any place and scale: its level, head and locations, and its mask."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmask.networks.mask_levels import CANONICAL, STRIDES, window_cells
from deepmask.networks.whole.look import Objects
from deepmask.networks.whole.masks_assign import (
    background,
    cut_mask,
    nearest_scales,
    positives,
    sample,
)

CANVAS = (512, 640)
BOTH = (5, 7)
sides = st.integers(8, 500)


def objects(*boxes: tuple[float, float, float, float], **changes: Any) -> Objects:
    """Usable objects of a completely labelled picture."""
    table = np.array(boxes, np.float64).reshape(-1, 4)
    fields: dict[str, Any] = {
        "usable": np.ones(len(table), bool),
        "crowds": np.zeros((0, 4)),
        "complete": True,
    }
    return Objects(table, **(fields | changes))


@st.composite
def squares(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """A square of whole pixels on the canvas."""
    side = draw(sides)
    y, x = (draw(st.integers(0, limit - side)) for limit in CANVAS)
    return x, y, x + side, y + side


def painted(box: tuple[float, float, float, float]) -> npt.NDArray[np.uint8]:
    bitmap = np.zeros(CANVAS, np.uint8)
    x0, y0, x1, y1 = map(int, box)
    bitmap[y0:y1, x0:x1] = 1
    return bitmap


@pytest.mark.parametrize("heads", [(5,), (7,), BOTH])
@given(box=squares())
def test_a_square_belongs_to_the_nearest_scale_and_to_cells_at_its_centre(
    heads: tuple[int, ...], box: tuple[float, float, float, float]
) -> None:
    rows = positives(objects(box), heads, *CANVAS)
    assert 1 <= len(rows) <= 9
    side = box[2] - box[0]
    canonical = np.array([[CANONICAL[head] * stride for head in heads] for stride in STRIDES])
    off = np.abs(np.log2(side / canonical))
    for head, level, i, j, owner in rows.tolist():
        assert owner == 0
        assert off[level, head] == off.min()
        stride = STRIDES[level]
        assert abs((i + 0.5) * stride - (box[1] + box[3]) / 2) <= stride
        assert abs((j + 0.5) * stride - (box[0] + box[2]) / 2) <= stride
    at = {tuple(row) for row in rows[:, 2:4].tolist()}
    stride = STRIDES[rows[0, 1]]
    centre = tuple(int((box[k] + box[k + 2]) / 2 / stride) for k in (1, 0))
    assert centre in at


@given(box=squares())
def test_a_mask_pasted_back_is_the_square(box: tuple[float, float, float, float]) -> None:
    """Each sample is the share of its pixels, so the sum of all is the square's area inside."""
    bitmap = painted(box)
    for row in positives(objects(box), BOTH, *CANVAS):
        head, stride = BOTH[row[0]], STRIDES[row[1]]
        side = window_cells(head) * stride
        share, seen = cut_mask(bitmap, row, head, 28)
        top, left = (int((at + 0.5) * stride - side / 2) for at in row[2:4])
        window = np.zeros((side, side), np.uint8)
        y, x = max(0, -top), max(0, -left)
        part = bitmap[max(0, top) : top + side, max(0, left) : left + side]
        window[y : y + part.shape[0], x : x + part.shape[1]] = part
        again = cv2.resize(share, (side, side), interpolation=cv2.INTER_NEAREST)
        differing = np.count_nonzero((again >= 128) != (window > 0))
        edge = side / 28 * 4 * (box[2] - box[0])
        assert differing <= 0.5 * edge + side
        beyond = np.zeros((side, side), bool)
        beyond[y : y + part.shape[0], x : x + part.shape[1]] = True
        assert abs(np.mean(seen) - np.mean(beyond)) <= 2 / 28
        assert not share[~seen].any() or stride > 1
    assert len(nearest_scales(np.array([box], np.float64), BOTH)) == 1


def test_of_two_objects_the_nearer_one_has_a_location() -> None:
    rows = positives(objects((96, 96, 128, 128), (100, 96, 132, 128)), (5,), *CANVAS)
    assert len({tuple(row) for row in rows[:, :4].tolist()}) == len(rows)
    for _, _, _, j, owner in rows.tolist():
        x = 4 * (j + 0.5)
        assert owner == int(abs(x - 116) < abs(x - 112))


def test_samples_are_a_quarter_objects_and_spare_crowds_and_unusable_objects() -> None:
    rng = np.random.default_rng(0)
    boxes = [(40.0 * k, 40.0, 40.0 * k + 32, 72.0) for k in range(12)]
    usable = np.arange(12) != 3
    crowd = np.array([[0.0, 200.0, 640.0, 512.0]])
    found = objects(*boxes, usable=usable, crowds=crowd)
    rows = sample(found, BOTH, CANVAS, 128, rng)
    assert len(rows) == 128
    taught = rows[rows[:, 4] >= 0]
    assert len(taught) == 32
    assert 3 not in taught[:, 4]
    others = rows[rows[:, 4] < 0]
    stride = np.array(STRIDES)[others[:, 1]]
    assert ((others[:, 2] + 0.5) * stride < 200).all()
    near = {tuple(row) for row in positives(found, BOTH, *CANVAS)[:, :4].tolist()}
    assert not near & {tuple(row) for row in others[:, :4].tolist()}
    free = background(found, positives(found, BOTH, *CANVAS), 2, *CANVAS)
    assert set(free[:, 0].tolist()) == {0, 1}


def test_partly_labelled_pictures_have_no_background() -> None:
    found = objects((96, 96, 128, 128), complete=False)
    rows = sample(found, BOTH, CANVAS, 128, np.random.default_rng(0))
    assert len(rows)
    assert (rows[:, 4] == 0).all()


def test_a_picture_without_objects_is_all_background() -> None:
    rows = sample(objects(), BOTH, CANVAS, 128, np.random.default_rng(0))
    assert rows.shape == (128, 5)
    assert (rows[:, 4] == -1).all()
