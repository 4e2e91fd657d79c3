"""A painted square at any place and scale belongs to the right level, location and half octave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmask.networks.levels import SLOTS, STRIDES
from deepmask.networks.whole.assign import (
    CANONICAL,
    CORE_CELLS,
    LevelTargets,
    assign,
    choose_windows,
)
from deepmask.networks.whole.look import Objects

CANVAS = 512


def objects(*boxes: tuple[float, float, float, float], **changes: Any) -> Objects:
    """Usable objects of a completely labelled picture."""
    table = np.array(boxes, np.float64).reshape(-1, 4)
    fields: dict[str, Any] = {
        "usable": np.ones(len(table), bool),
        "crowds": np.zeros((0, 4)),
        "complete": True,
    }
    return Objects(table, **(fields | changes))


def square(x: float, y: float, side: float) -> tuple[float, float, float, float]:
    """A box around a centre."""
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def places(targets: list[LevelTargets], what: str) -> list[tuple[int, int, int, int]]:
    """(level, slot, i, j) of all locations whose label is 1, or which have an owner."""
    return [
        (level, int(index[0]), int(index[1]), int(index[2]))
        for level, t in enumerate(targets)
        for index in np.argwhere(t.label == 1 if what == "label" else t.owner >= 0)
    ]


squares = st.builds(
    square, st.floats(100, 412), st.floats(100, 412), st.floats(6, 720).map(lambda v: v)
)


@given(box=squares)
def test_a_square_belongs_to_the_nearest_scale_and_location(
    box: tuple[float, float, float, float],
) -> None:
    found = places(assign(objects(box), CANVAS, CANVAS), "label")
    side = np.clip(box[2] - box[0], CANONICAL.min(), CANONICAL.max())
    off = np.abs(np.log2(side / CANONICAL))
    assert found
    for level, slot, i, j in found:
        assert off[level, slot] == pytest.approx(off.min())
        y, x = (i + 0.5) * STRIDES[level], (j + 0.5) * STRIDES[level]
        far = np.hypot(x - (box[0] + box[2]) / 2, y - (box[1] + box[3]) / 2)
        assert far <= CORE_CELLS * STRIDES[level] + 1e-6
    # The nearest location of the level is among them.
    level, slot = np.unravel_index(off.argmin(), off.shape)
    nearest = [int((box[k] + box[k + 2]) / 2 // STRIDES[level]) for k in (1, 0)]
    assert (level, slot, *nearest) in found or np.isclose(
        off, off.min(), atol=1e-6
    ).sum() > 1  # between two scales: either
    assert all(np.isclose(off[f[0], f[1]], off.min()) for f in found)


@given(box=squares)
def test_labels_lie_within_what_is_owned_and_both_within_what_is_spared(
    box: tuple[float, float, float, float],
) -> None:
    for t in assign(objects(box), CANVAS, CANVAS):
        assert (t.owner[t.label == 1] == 0).all()
        assert (t.label[t.owner >= 0] != 0).all()
        assert (t.quality[t.owner < 0] == 0).all()
        assert (t.quality[t.owner >= 0] > 0).all()
        assert (t.quality <= 1).all()


@pytest.mark.parametrize("level", range(len(STRIDES)))
@pytest.mark.parametrize("slot", range(len(SLOTS)))
def test_quality_is_best_where_the_window_sits_exactly(level: int, slot: int) -> None:
    """An object of canonical scale, centred on a location: quality 1 there, less elsewhere."""
    stride = STRIDES[level]
    centre = (CANVAS // stride // 2 + 0.5) * stride
    targets = assign(objects(square(centre, centre, CANONICAL[level, slot])), CANVAS, CANVAS)
    i = CANVAS // stride // 2
    assert targets[level].quality[slot, i, i] == pytest.approx(1)
    qualities = np.sort(np.concatenate([t.quality.ravel() for t in targets]))
    assert qualities[-2] < 0.95


def test_two_objects_share_the_locations_between_them() -> None:
    """Each window means the object it sits on better."""
    left, right = square(200, 256, 128), square(264, 256, 128)
    targets = assign(objects(left, right), CANVAS, CANVAS)
    for level, slot, _, j in places(targets, "owner"):
        x = (j + 0.5) * STRIDES[level]
        owner = targets[level].owner[slot, :, j]
        if abs(x - 232) > 1:
            assert (owner[owner >= 0] == int(x > 232)).all()


def test_partly_labelled_pictures_have_no_background() -> None:
    targets = assign(objects(square(256, 256, 64), complete=False), CANVAS, CANVAS)
    assert all((t.label != 0).all() for t in targets)
    assert any((t.label == 1).any() for t in targets)


def test_unusable_objects_are_neither_object_nor_background() -> None:
    box = square(256, 256, 64)
    targets = assign(objects(box, usable=np.zeros(1, bool)), CANVAS, CANVAS)
    assert not places(targets, "label")
    assert not places(targets, "owner")
    usable = assign(objects(box), CANVAS, CANVAS)
    for given_, expected in zip(targets, usable, strict=True):
        assert ((given_.label == -1) == (expected.label != 0)).all()


def test_crowds_are_not_background() -> None:
    targets = assign(objects(crowds=np.array([[100.0, 120, 300, 260]])), CANVAS, CANVAS)
    for t, stride in zip(targets, STRIDES, strict=True):
        centre = (np.arange(CANVAS // stride) + 0.5) * stride
        inside = ((centre > 120) & (centre < 260))[:, None] & ((centre > 100) & (centre < 300))
        assert (t.label[:, inside] == -1).all()
        assert (t.label == 0).any() or stride == STRIDES[-1]


def test_a_picture_without_objects_is_background() -> None:
    for t in assign(objects(), CANVAS, CANVAS):
        assert (t.label == 0).all()
        assert (t.owner == -1).all()


@given(seed=st.integers(0, 100), each=st.integers(1, 6), most=st.integers(1, 20))
def test_chosen_windows_mean_their_objects(seed: int, each: int, most: int) -> None:
    targets = assign(
        objects(square(150, 150, 60), square(300, 300, 200), square(400, 120, 25)), CANVAS, CANVAS
    )
    rows = choose_windows(targets, np.random.default_rng(seed), each, most)
    assert len(rows) <= most
    assert len({tuple(r) for r in rows.tolist()}) == len(rows)
    for slot, level, i, j, owner in rows:
        assert targets[level].owner[slot, i, j] == owner
    counts = np.bincount(rows[:, 4], minlength=3)
    assert (counts <= each).all()
    if most == 20 and each == 1:
        assert (counts == 1).all()


def test_no_windows_are_chosen_where_there_is_nothing() -> None:
    rows = choose_windows(assign(objects(), 128, 128), np.random.default_rng(0), 4, 40)
    assert rows.shape == (0, 5)
