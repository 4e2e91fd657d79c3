"""A model with names: its categories, and the stages for boxes that tell them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.model.folder import load_manifest, read_manifest, write_manifest
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.parse import parse_manifest
from deepmask.runtime.validation import ContentError
from tests.runtime.named_model import CATEGORIES, NAMED, write_named_model

Content = dict[str, Any]
NAMES = 4  # the index of the stage for boxes
CLASS = {"role": "class", "dtype": "float32", "axes": ["n", 3]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_named_model(tmp_path_factory.mktemp("models") / "named", refined=True)


@pytest.fixture
def content(folder: Path) -> Content:
    return dict(json.loads((folder / "model.json").read_text()))


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    manifest = load_manifest(folder)
    assert (manifest.categories, manifest.label_score) == (CATEGORIES, 0.5)
    assert [stage.name for stage in manifest.box_stages] == ["names"]
    assert manifest.box_stages == manifest.coarse_form().box_stages
    assert manifest.box_stages[0].outputs == {name: NAMED[name] for name in ("class", "delta")}
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest


def test_boxes_may_go_through_several_stages_and_have_no_better_boxes(content: Content) -> None:
    code = {"role": "map", "dtype": "float32", "axes": ["n", 8]}
    names = content["stages"][NAMES]
    first = {**names, "name": "roi", "outputs": {"code": code}}
    names |= {"inputs": {"code": code}, "outputs": {"class": CLASS}}
    content["stages"].insert(NAMES, first)
    manifest = parse_manifest(content)
    assert [stage.name for stage in manifest.box_stages] == ["roi", "names"]
    assert [stage.name for stage in manifest.window_stages] == ["mask"]


def _put(key: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content["stages"][NAMES].__setitem__(key, value)


def _tensor(side: str, name: str, **values: Any) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        tensors = content["stages"][NAMES][side]
        tensors[name] = {**tensors.get(name, CLASS), **values}

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["categories"].pop(), "with the role class, (n, 2), in a stage that runs per"),
        (lambda c: c.pop("categories"), "0 categories and 1 stages per boxes, expected both or"),
        (lambda c: c["stages"].pop(), "2 categories and 0 stages per boxes, expected both or none"),
        (lambda c: c["coarse"]["stages"].pop(), "2 categories and 0 stages per boxes"),
        (lambda c: c.pop("label_score"), "only one of categories and label_score is there"),
        (lambda c: c.update(label_score=2), "label_score is 2, expected a number from 0 to 1"),
        (lambda c: c["stages"].insert(0, c["stages"].pop()), "stage tone runs per view, after one"),
        (_put("per", "windows"), "stage names reads boxes, which nothing before it makes"),
        (_put("per", "view"), "stage names runs per view, after one that runs on windows"),
        (_put("grids", ["windows"]), "stage names: it has grids and runs per boxes: leave grids"),
        (_tensor("inputs", "boxes", axes=["n", 5]), "with the role boxes, (n, 4), in a stage"),
        (_tensor("inputs", "boxes", dtype="int64"), "boxes: dtype is 'int64', expected float32"),
        (_tensor("outputs", "class", role="score"), "makes class as score, expected a new name"),
        (_tensor("outputs", "class", axes=["n", 3, 1]), "one tensor with the role class, (n, 3)"),
        (_tensor("outputs", "more"), "expected one tensor with the role class, (n, 3)"),
        (
            _tensor("outputs", "delta", axes=["n", 3, 4]),
            "one tensor with the role delta, (n, 2, 4)",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    content: Content, change: Callable[[Content], object], text: str
) -> None:
    change(content)
    with pytest.raises((ModelFolderError, ContentError)) as caught:
        parse_manifest(content)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
