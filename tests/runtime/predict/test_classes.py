"""Labels, names and ids of masks follow from the probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from deepmask.runtime.model.manifest import Category
from deepmask.runtime.predict.classes import Classes, listed

CATEGORIES = (Category(3, "dog"), Category(1, "cat"))


@pytest.fixture
def classes() -> Classes:
    scores = np.array([[0.1, 0.8], [0.5, 0.2], [0.3, 0.3], [0, 0]], np.float32)
    boxes = np.arange(32, dtype=np.float32).reshape(4, 2, 4)
    return Classes(CATEGORIES, scores, boxes, 0.5)


def test_what_is_not_sure_is_an_object(classes: Classes) -> None:
    assert classes.labels.tolist() == [1, 0, -1, -1]
    assert classes.label_scores.tolist() == pytest.approx([0.8, 0.5, 0.3, 0])
    assert classes.names == ["cat", "dog", "object", "object"]
    assert classes.ids == [1, 3, 4, 4]
    assert classes.numbers == [1, 0, 2, 2]


def test_some_of_them(classes: Classes) -> None:
    some = classes.only([2, 0])
    assert some.names == ["object", "cat"]
    assert some.boxes is not None
    assert some.boxes[:, 0, 0].tolist() == [16, 0]


def test_the_id_of_what_has_no_name_is_free() -> None:
    assert [one.id for one in listed(CATEGORIES)] == [3, 1, 4]
    assert listed([Category(0, "a")])[1] == Category(1, "object")
