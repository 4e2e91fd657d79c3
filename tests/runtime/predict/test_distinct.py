"""The first masks are distinct."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rlemasklib import RLEMask

from deepmask.runtime.predict.distinct import FIRST, LIMIT, POOL, distinct_first


def square(left: int, side: int = 10) -> RLEMask:
    """A square in a picture of 40 × 400."""
    mask = np.zeros((40, 400), np.uint8)
    mask[5 : 5 + side, left : left + side] = 1
    return RLEMask.from_array(mask)


def test_similar_masks_follow_the_distinct_ones() -> None:
    masks = [square(0), square(1), square(50), square(51), square(0), square(100)]
    assert distinct_first(masks).tolist() == [0, 2, 5, 1, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 380), st.integers(0, 20)), max_size=150))
def test_the_first_are_picked_one_by_one(places: list[tuple[int, int]]) -> None:
    masks = [square(left, side) for left, side in places]
    first: list[int] = []
    for n, mask in enumerate(masks[:POOL]):
        if len(first) < FIRST and not any(mask.iou(masks[k]) > LIMIT for k in first):
            first.append(n)
    rest = [n for n in range(len(masks)) if n not in first]
    assert distinct_first(masks).tolist() == first + rest


def test_no_masks() -> None:
    assert len(distinct_first([])) == 0
