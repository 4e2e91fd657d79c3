"""Detections of proposals: a threshold, non-maximum suppression per category, names of labels."""

from __future__ import annotations

import numpy as np
import pytest

from deepmask.evaluate.detections import MOST, detections_of, ids_of
from deepmask.runtime.model.manifest import Category

NEAR = np.array([[0, 0, 10, 10], [0, 1, 10, 10], [0, 6, 10, 10]], np.float32)


def test_a_box_gives_way_to_a_better_one_of_its_category() -> None:
    boxes = np.stack([NEAR, NEAR + np.array([0, 0, 5, 0], np.float32)], axis=1)
    scores = np.array([[0.5, 0.3], [0.9, 0.001], [0.2, 0.4]])
    found = detections_of(scores, boxes, [{"n": k} for k in "abc"], [7, 4])
    assert found.categories.tolist() == [7, 4, 4, 7]
    assert found.scores.tolist() == pytest.approx([0.9, 0.4, 0.3, 0.2])
    assert found.boxes[:2].tolist() == [[0, 1, 10, 10], [0, 6, 15, 10]]
    assert found.rles == [{"n": "b"}, {"n": "c"}, {"n": "a"}, {"n": "c"}]


def test_what_the_labels_lack_is_left_out() -> None:
    boxes = np.repeat(NEAR[:, None], 2, axis=1)
    found = detections_of(np.full((3, 2), 0.5), boxes, None, [None, 0])
    assert found.categories.tolist() == [0, 0]
    assert found.rles is None
    none = detections_of(np.zeros((0, 2)), boxes[:0], None, [1, 2])
    assert len(none.scores) == len(none.boxes) == 0


def test_an_image_has_so_many_at_most() -> None:
    count = 2 * MOST
    boxes = np.zeros((count, 1, 4), np.float32)
    boxes[:, 0] = [5, 5, 4, 4]
    boxes[:, 0, 0] = 10 * np.arange(count)
    scores = np.linspace(0.1, 0.9, count)[:, None]
    found = detections_of(scores, boxes, None, [1])
    assert found.scores.tolist() == pytest.approx(scores[::-1][:MOST, 0].tolist())


def test_names_are_compared_as_people_write_them() -> None:
    model = [Category(1, "TV"), Category(2, "dog"), Category(3, "ship")]
    labels = {10: "tvmonitor", 20: "Dog", 30: "airplane"}
    assert ids_of(model, labels) == ([10, 20, None], ["airplane"])
