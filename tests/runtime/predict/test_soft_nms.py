"""Near-duplicates move down; nothing is lost, nothing else moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from deepmask.runtime.predict.soft_nms import demote_duplicates

Boxes = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]


def boxes_of(*rows: tuple[int, int, int, int]) -> Boxes:
    return np.array(rows, np.float64).reshape(-1, 4)


def test_a_near_duplicate_falls_behind_another_object() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 10, 10))
    order, scores = demote_duplicates(np.array([0.9, 0.8, 0.5], np.float32), boxes, 0.8)
    assert order.tolist() == [0, 2, 1]
    np.testing.assert_allclose(scores, [0.9, 0.5, 0.8 * 0.1], rtol=1e-5)


def test_the_limit_is_exclusive_and_one_changes_nothing() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 10))
    given_scores = np.array([0.9, 0.8, 0.5], np.float32)
    order, scores = demote_duplicates(given_scores, boxes, 0.85)
    assert order.tolist() == [0, 1, 2]
    assert scores[1] == given_scores[1]
    order, scores = demote_duplicates(given_scores, boxes, 1.0)
    assert order.tolist() == [0, 1, 2]
    assert np.array_equal(scores, given_scores)


def plain(scores: Scores, boxes: Boxes, overlap: float) -> tuple[list[int], list[float]]:
    """Soft-NMS as a reader would write it."""

    def iou(a: Boxes, b: Boxes) -> float:
        w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
        h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
        shared = max(w, 0) * max(h, 0)
        return float(shared / max(a[2] * a[3] + b[2] * b[3] - shared, 1e-9))

    left = {index: float(score) for index, score in enumerate(scores)}
    order, final = [], []
    while left:
        best = max(left, key=lambda index: (left[index], -index))
        order.append(best)
        final.append(left.pop(best))
        for index in left:
            if iou(boxes[best], boxes[index]) > overlap:
                left[index] *= 1 - iou(boxes[best], boxes[index])
    return order, final


box = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(0, 9)] * 2)


@given(st.lists(box, max_size=25), st.sampled_from([0.0, 0.33, 0.62, 0.81]), st.integers(0, 999))
def test_equals_the_plain_form(
    rows: list[tuple[int, int, int, int]], overlap: float, seed: int
) -> None:
    boxes = boxes_of(*rows)
    drawn = np.random.default_rng(seed).random(len(boxes)).astype(np.float32)
    scores = np.sort(drawn)[::-1].copy()
    order, final = demote_duplicates(scores, boxes, overlap)
    expected_order, expected = plain(scores, boxes, overlap)
    assert sorted(order.tolist()) == list(range(len(boxes)))
    assert (np.diff(final) <= 0).all()
    np.testing.assert_allclose(final, expected, rtol=1e-4, atol=1e-6)
    distinct = np.diff(np.array(expected, np.float64)) < -1e-4
    if distinct.all():
        assert order.tolist() == expected_order


def test_blocks_of_boxes_are_joined() -> None:
    random = np.random.default_rng(2)
    sides = (random.integers(low, high, (200, 2)) for low, high in ((0, 40), (8, 24)))
    boxes = np.hstack(list(sides)).astype(np.float64)
    drawn = np.sort(random.random(200).astype(np.float32))[::-1].copy()
    order, final = demote_duplicates(drawn, boxes, 0.5)
    expected_order, expected = plain(drawn, boxes, 0.5)
    assert order.tolist() == expected_order
    assert order.tolist() != list(range(200))
    np.testing.assert_allclose(final, expected, rtol=1e-4)
