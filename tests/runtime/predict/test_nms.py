"""Of boxes that overlap much the best is kept, group by group."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from deepmask.runtime.predict.nms import best_of_overlapping, ious, kept_boxes

Boxes = npt.NDArray[np.float64]


def boxes_of(*rows: tuple[float, ...]) -> Boxes:
    return np.array(rows, np.float64).reshape(-1, 4)


def plain(boxes: Boxes, overlap: float, most: int) -> list[int]:
    """As a reader would write it."""
    kept: list[int] = []
    for index in range(len(boxes)):
        rivals = ious(boxes[[index]], boxes[kept])[0]
        if len(kept) < most and not (rivals > overlap).any():
            kept.append(index)
    return kept


@given(
    st.integers(0, 999), st.integers(0, 200), st.sampled_from([0.0, 0.3, 0.7]), st.integers(1, 99)
)
def test_the_plain_form(seed: int, count: int, overlap: float, most: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 40, (count, 2)), rng.uniform(1, 30, (count, 2))], 1)
    assert best_of_overlapping(boxes, overlap, most).tolist() == plain(boxes, overlap, most)


def test_an_iou_at_the_limit_is_kept() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 5), (0, 0, 10, 5.1))
    assert best_of_overlapping(boxes, 0.5, 9).tolist() == [0, 1]
    assert best_of_overlapping(boxes, 1.0, 2).tolist() == [0, 1]


def test_groups_do_not_suppress_each_other_and_empty_boxes_go() -> None:
    boxes = boxes_of((0, 0, 9, 9), (0, 0, 9, 0), (0, 0, 9, 9), (0, 0, 9, 9), (20, 0, 9, 9))
    groups = np.array([3, 3, 0, 3, 0])
    assert kept_boxes(boxes, groups, 0.5, 9).tolist() == [0, 2, 4]
    assert kept_boxes(boxes, groups, 0.5, 2).tolist() == [0, 2]
    assert kept_boxes(boxes[:0], groups[:0], 0.5, 2).tolist() == []


def test_iou() -> None:
    boxes = boxes_of((0, 0, 4, 4), (0, 0, 0, 0))
    others = boxes_of((2, 0, 4, 4), (4, 4, 1, 1), (0, 0, 0, 0))
    assert ious(boxes, others).tolist() == [[8 / 24, 0, 0], [0, 0, 0]]
