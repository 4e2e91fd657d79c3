"""Training on some of the categories: which objects are left, and how a mistake is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepmask.coco.categories import VOC, with_categories
from deepmask.coco.training_labels import DataError, read_annotations
from deepmask.networks.patches.sampling import Sampler


@pytest.fixture
def named(drawn, tmp_path):
    """The drawn set with the category names person, tvmonitor and zebra."""

    def read(*names):
        content = json.loads(drawn[0].read_text())
        content["categories"] = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
        path = tmp_path / f"{'-'.join(names)}.json"
        path.write_text(json.dumps(content))
        return read_annotations(path, drawn[1])

    return read


def categories(found) -> set[int]:
    return {item.category for item in found.instances}


def test_voc_takes_either_spelling_and_keeps_every_image(named):
    whole = named("person", "tvmonitor", "zebra")
    (found,) = with_categories([whole], "voc")
    assert categories(whole) == {1, 2, 3}
    assert categories(found) == {1, 2}
    assert len(found.instances) == sum(item.category != 3 for item in whole.instances)
    assert found.images == whole.images
    assert len(VOC) == 20


def test_ids_and_names_mix_and_sets_have_their_own_ids(named):
    first, second = with_categories(
        [named("person", "tv", "zebra"), named("zebra", "person", "cow")], "3, Person"
    )
    assert categories(first) == {1, 3}
    assert categories(second) == {2, 3}


def test_nothing_wanted_is_everything(named):
    whole = named("person", "tv", "zebra")
    assert with_categories([whole], "") == [whole]


@pytest.mark.parametrize("wanted", ["unicorn", "person,unicorn", "person,,tv", "99"])
def test_an_unknown_category_is_told(named, wanted):
    with pytest.raises(DataError, match=r"is in none of the annotation files.*person, tv, zebra"):
        with_categories([named("person", "tv", "zebra")], wanted)


def test_other_objects_are_background_for_the_sampler(named, tiny_model, tiny_recipe):
    whole = named("person", "tv", "zebra")
    (found,) = with_categories([whole], "zebra")
    sampler = Sampler(found, [], tiny_model, tiny_recipe)
    rng = np.random.default_rng(0)
    drawn = sampler.mask_positives(50, rng) + sampler.score_positives(50, rng)
    assert {one.instance.category for one in drawn} == {3}
