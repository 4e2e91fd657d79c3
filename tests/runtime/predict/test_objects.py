"""Distinct objects: no repeats, no parts, no groups; each pixel owned once where asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlemasklib import RLEMask

from deepmask import Proposals
from deepmask.runtime.predict.objects import choose_boxes, choose_objects, flatten

SIZE = (60, 80)
Box = tuple[int, int, int, int]


def mask(*boxes: Box) -> RLEMask:
    """Left, top, right, bottom of the mask's rectangles."""
    array = np.zeros(SIZE, np.uint8)
    for left, top, right, bottom in boxes:
        array[top:bottom, left:right] = 1
    return RLEMask.from_array(np.asfortranarray(array))


def falling(count: int, least: float = 0.5) -> npt.NDArray[np.float32]:
    return np.linspace(1, least, count, dtype=np.float32)


def chosen(*masks: RLEMask, **options: object) -> list[int]:
    return choose_objects(masks, falling(len(masks)), **options)  # type: ignore[arg-type]


PERSON, FACE, DOG = mask((10, 10, 30, 50)), mask((14, 10, 26, 22)), mask((40, 30, 60, 50))
PERSON_AGAIN = mask((10, 12, 30, 52))
BOTH = mask((10, 10, 30, 50), (40, 30, 60, 50), (30, 40, 40, 50))
SCENE = mask((1, 1, 79, 59))


def test_repeats_are_left_out() -> None:
    assert chosen(PERSON, PERSON_AGAIN, DOG) == [0, 2]
    assert chosen(PERSON, PERSON_AGAIN, DOG, parts=True) == [0, 2]
    assert chosen(PERSON, PERSON_AGAIN, DOG, parts=True, nms=1) == [0, 1, 2]


def test_parts_and_groups_are_left_out_unless_asked_for() -> None:
    assert chosen(PERSON, FACE, DOG, BOTH) == [0, 2]
    assert chosen(PERSON, FACE, DOG, BOTH, parts=True) == [0, 1, 2]  # the group: IoU over 0.5
    assert chosen(PERSON, FACE, DOG, BOTH, parts=True, nms=0.9) == [0, 1, 2, 3]


def test_a_whole_that_ranks_below_its_part_is_an_object() -> None:
    assert chosen(FACE, PERSON) == [0, 1]


def test_a_scene_does_not_swallow_what_is_in_it() -> None:
    assert chosen(SCENE, PERSON, FACE, DOG) == [0, 1, 3]


def test_top_and_scores() -> None:
    masks = [mask((8 * index, 0, 8 * index + 6, 6)) for index in range(10)]
    scores = np.array([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.21, 0.19, 0.1, 0.0], np.float32)
    assert choose_objects(masks, scores) == list(range(6))  # to 0.3 of the best
    assert choose_objects(masks, scores, top=3) == [0, 1, 2]
    assert choose_objects(masks, scores, min_score=0.6) == [0, 1, 2]
    assert choose_objects(masks, scores, min_score=0) == list(range(10))
    assert choose_objects(masks, scores * np.float32(0.01)) == list(range(6))


def test_what_ranks_far_below_is_looked_at_for_a_given_score_only() -> None:
    def before(count: int) -> list[RLEMask]:
        return [PERSON, *[PERSON_AGAIN] * 200, *[FACE] * count, DOG]

    assert choose_objects(before(23), falling(225)) == [0, 224]
    assert choose_objects(before(24), falling(226)) == [0]
    assert choose_objects(before(24), falling(226), top=21) == [0, 225]
    assert choose_objects(before(24), falling(226), min_score=0.1) == [0, 225]
    assert choose_objects(before(23), falling(225), top=2) == [0, 224]


def test_empty_masks_and_none() -> None:
    assert chosen(mask(), DOG) == [1]
    assert chosen() == []
    assert flatten([]) == []
    nothing = Proposals(np.empty(0, np.float32), [], SIZE).objects(flat=True)
    assert len(nothing) == 0


CORNERS = st.tuples(st.integers(0, 70), st.integers(0, 50), st.integers(1, 40), st.integers(1, 40))


@given(st.lists(CORNERS, min_size=1, max_size=8))
def test_flat_masks_share_no_pixel_and_leave_none_out(corners: list[Box]) -> None:
    masks = [mask((x, y, min(80, x + w), min(60, y + h))) for x, y, w, h in corners]
    flat = flatten(masks)
    arrays = [one.to_array() for one in flat]
    assert (np.sum(arrays, axis=0) <= 1).all()
    assert (np.any(arrays, axis=0) == np.any([one.to_array() for one in masks], axis=0)).all()
    for whole, part in zip(masks, flat, strict=True):
        assert (part - whole).area() == 0


def test_the_smaller_object_owns_what_two_share() -> None:
    proposals = Proposals(falling(2), [PERSON, FACE], SIZE)
    objects = proposals.objects(parts=True, flat=True)
    assert objects.areas.tolist() == [PERSON.area() - FACE.area(), FACE.area()]
    # A whole that its parts cover is none any more.
    halves = [mask((10, 10, 30, 30)), mask((10, 30, 30, 50))]
    covered = Proposals(falling(3), [PERSON, *halves], SIZE).objects(parts=True, nms=0.9, flat=True)
    assert covered.areas.tolist() == [400, 400]
    assert covered.scores.tolist() == pytest.approx([0.75, 0.5])


def test_boxes_of_one_label_do_not_repeat() -> None:
    """What lies in another box, or in the same place under another name, is an object, too."""
    whole, again, part = (
        (10.0, 10.0, 20.0, 40.0),
        (10.0, 12.0, 20.0, 40.0),
        (14.0, 10.0, 12.0, 12.0),
    )
    boxes = np.array([whole, again, again, part, whole])
    scores, labels = np.array([0.9, 0.8, 0.7, 0.5, 0.2], np.float32), np.array([0, 0, 1, 0, 2])
    assert choose_boxes(boxes, scores, labels) == [0, 2, 3]
    assert choose_boxes(boxes, scores, labels, min_score=0.1) == [0, 2, 3, 4]
    assert choose_boxes(boxes, scores, labels, nms=1) == [0, 1, 2, 3]
    assert choose_boxes(boxes, scores, labels, top=2) == [0, 2]
    assert choose_boxes(boxes[:0], scores[:0], labels[:0]) == []
