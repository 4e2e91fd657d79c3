"""Pictures whose objects have names: which of them tell what is background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepmask.networks.boxes.pictures import named_pool, numbers_of, require_background
from deepmask.networks.family import TrainingData
from tests.networks.boxes.test_batches import labelled
from tests.networks.tiny_fast_rcnn import OF_PYRAMID

NUMBERS = {1: 1, 7: 2}


def test_categories_are_numbered_in_their_order() -> None:
    assert numbers_of(OF_PYRAMID) == NUMBERS


def test_a_set_tells_the_background_of_the_categories_it_lists(tmp_path: Path) -> None:
    full, partly = labelled(tmp_path, 1, 7), labelled(tmp_path, 5, 1)
    pool = named_pool(TrainingData(full, [partly]), NUMBERS)
    assert [one.labelled for one in pool.complete] == [(True, True)] * 2
    assert [one.labelled for one in pool.partly] == [(False, False)] * 2
    assert [list(one.category) for one in (*pool.complete, *pool.partly)] == [[2], [2], [1], [1]]


def test_a_category_that_only_another_set_has_is_not_known_to_be_missing(tmp_path: Path) -> None:
    full = replace(labelled(tmp_path, 1, 7), categories={7: "disc"})
    data = TrainingData(full, [labelled(tmp_path, 5, 1)])
    assert {one.labelled for one in named_pool(data, NUMBERS).complete} == {(False, True)}
    require_background(TrainingData(full), {7: 1})
    with pytest.raises(ValueError, match=r"1 categories \(square\) are in --mask-annotations only"):
        require_background(data, NUMBERS)


def test_of_any_category_all_must_be_labelled(tmp_path: Path) -> None:
    full = replace(labelled(tmp_path, 1, 7), categories={7: "disc"})
    data = TrainingData(full, [labelled(tmp_path, 5, 1)])
    assert {one.labelled for one in named_pool(data, {1: 1, 7: 1}).complete} == {(False,)}
    assert {one.labelled for one in named_pool(data, {7: 1}).complete} == {(True,)}


def test_pictures_with_some_objects_labelled_have_one_at_least(tmp_path: Path) -> None:
    partly = replace(labelled(tmp_path, 5, 1), instances=labelled(tmp_path, 5, 1).instances[:1])
    pool = named_pool(TrainingData(labelled(tmp_path, 1), [partly]), NUMBERS)
    assert (len(pool.complete), len(pool.partly)) == (2, 1)


def test_without_an_object_nothing_can_be_learned(tmp_path: Path) -> None:
    unknown = labelled(tmp_path, 1, 5)
    for found in (unknown, replace(unknown, instances=())):
        with pytest.raises(ValueError, match="no object to learn from"):
            named_pool(TrainingData(found), NUMBERS)
