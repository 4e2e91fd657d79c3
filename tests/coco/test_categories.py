"""Training on some of the categories: which objects are left, and how a mistake is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.categories import VOC, with_categories
from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco

Named = Callable[..., LabelledSet]


@pytest.fixture
def named(drawn: tuple[Path, Path], tmp_path: Path) -> Named:
    """The drawn set with the category names person, tvmonitor and zebra."""

    def read(*names: str) -> LabelledSet:
        content = json.loads(drawn[0].read_text())
        content["categories"] = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
        path = tmp_path / f"{'-'.join(names)}.json"
        path.write_text(json.dumps(content))
        return read_coco(path, drawn[1])

    return read


def categories(found: LabelledSet) -> set[int]:
    return {item.category for item in found.instances}


def test_voc_takes_either_spelling_and_keeps_every_image(named: Named) -> None:
    whole = named("person", "tvmonitor", "zebra")
    (found,) = with_categories([whole], "voc")
    assert categories(whole) == {1, 2, 3}
    assert categories(found) == {1, 2}
    assert len(found.instances) == sum(item.category != 3 for item in whole.instances)
    assert found.images == whole.images
    assert len(VOC) == 20


def test_ids_and_names_mix_and_sets_have_their_own_ids(named: Named) -> None:
    first, second = with_categories(
        [named("person", "tv", "zebra"), named("zebra", "person", "cow")], "3, Person"
    )
    assert categories(first) == {1, 3}
    assert categories(second) == {2, 3}


def test_the_others_can_be_meant(named: Named) -> None:
    whole = named("person", "tv", "zebra")
    assert categories(with_categories([whole], "not voc")[0]) == {3}
    assert categories(with_categories([whole], "Not 3, tv")[0]) == {1}


def test_nothing_wanted_is_everything(named: Named) -> None:
    whole = named("person", "tv", "zebra")
    assert with_categories([whole], "") == [whole]


@pytest.mark.parametrize("wanted", ["unicorn", "person,unicorn", "person,,tv", "99"])
def test_an_unknown_category_is_told(named: Named, wanted: str) -> None:
    with pytest.raises(LabelError, match=r"is in none of the annotation files.*person, tv, zebra"):
        with_categories([named("person", "tv", "zebra")], wanted)
