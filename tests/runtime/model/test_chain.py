"""Stages for windows of some grids, ranks, and axes that only a stage knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.model.folder import load_manifest, read_manifest, write_manifest
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.parse import parse_manifest
from deepmask.runtime.validation import ContentError
from tests.runtime.chains_model import TENSORS, write_chains_model

Content = dict[str, Any]
SMALL, LARGE = 3, 4  # indices of the stages for windows
RANK = {"role": "rank", "dtype": "float32", "axes": ["n"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chains_model(tmp_path_factory.mktemp("models") / "chains")


@pytest.fixture
def content(folder: Path) -> Content:
    return dict(json.loads((folder / "model.json").read_text()))


def test_grids_with_the_same_stages_share_a_chain(folder: Path, tmp_path: Path) -> None:
    manifest = load_manifest(folder)
    names = [[stage.name for stage in chain.stages] for chain in manifest.chains]
    assert names == [["mask-small"], ["mask-large"]]
    assert [chain.grids for chain in manifest.chains] == [(0,), (1, 2)]
    assert manifest.ranks
    assert [chain.tensor("rank") for chain in manifest.chains] == ["rank", "rank"]
    assert manifest.chains[0].tensor("score") == ""
    table = manifest.stage("table")
    assert table.outputs == {name: TENSORS[name] for name in ("samples", "layout")}
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest


def test_stages_may_be_shared_by_some_grids_or_all(content: Content) -> None:
    """One for all makes codes, one for two grids goes on; the order of a chain is the list's."""
    code = {"role": "map", "dtype": "float32", "axes": ["n", 4]}
    small, large = content["stages"][SMALL:]
    both = {**small, "name": "code", "outputs": {"code": code}}
    del both["grids"]
    first = {**large, "name": "again", "outputs": {"more": code}}
    large["inputs"] = {"more": code, "code": code, "locations": large["inputs"]["locations"]}
    content["stages"][SMALL:] = [both, first, small, large]
    manifest = parse_manifest(content)
    names = [[stage.name for stage in chain.stages] for chain in manifest.chains]
    assert names == [["code", "mask-small"], ["code", "again", "mask-large"]]


def test_one_chain_may_give_its_tensors_names_of_its_own(content: Content) -> None:
    stage = content["stages"][SMALL]
    stage["outputs"]["rank-a"] = stage["outputs"].pop("rank")
    manifest = parse_manifest(content)
    assert [chain.tensor("rank") for chain in manifest.chains] == ["rank-a", "rank"]


def _without_rank(content: Content) -> None:
    del content["stages"][SMALL]["outputs"]["rank"]


def _put(index: int, key: str, value: Any) -> Any:
    return lambda content: content["stages"][index].update({key: value})


def _tensor(index: int, side: str, name: str, value: Any) -> Any:
    return lambda content: content["stages"][index][side].update({name: value})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_put(SMALL, "grids", []), "grids is [], expected a list of 1 to 64 items"),
        (_put(SMALL, "grids", "small"), "grids is 'small', expected a list"),
        (_put(SMALL, "grids", [0]), "stage mask-small: a grid is 0, expected a text"),
        (_put(0, "grids", ["small"]), "stage trunk: it has grids and runs per view: leave grids"),
        (
            _put(SMALL, "grids", ["tiny"]),
            "stage mask-small is for grid 'tiny', which is not in the table",
        ),
        (
            _put(LARGE, "grids", ["huge"]),
            "expected one tensor with the role mask, (n, 16, 16), in a stage that runs per windows,"
            " for large",
        ),
        (
            _put(LARGE, "grids", ["small", "large", "huge"]),
            "stage mask-large makes mask as mask, expected a new name and one of map, mask, rank",
        ),
        (
            lambda c: c["stages"][SMALL].pop("grids"),
            "stage mask-large makes mask as mask, expected a new name",
        ),
        (_without_rank, "some grids' windows get a rank and some none, expected all or none"),
        (
            _tensor(SMALL, "outputs", "more", RANK),
            "expected one tensor with the role rank, (n), in a stage that runs per windows, for s",
        ),
        (
            _tensor(LARGE, "outputs", "rank", {**RANK, "axes": ["n", 1]}),
            "expected one tensor with the role rank, (n), in a stage that runs per windows, for l",
        ),
        (
            _tensor(0, "outputs", "rank", RANK),
            "stage trunk makes rank as rank, expected a new name and one of map, score",
        ),
        (
            _tensor(SMALL, "outputs", "rank", {**RANK, "dtype": "int64"}),
            "stage mask-small: rank: dtype is 'int64', expected float32",
        ),
        (
            _tensor(2, "outputs", "layout", {"role": "map", "dtype": "int32", "axes": [2, 3]}),
            "stage table: layout: dtype is 'int32', expected float32 or int64",
        ),
        (
            _tensor(2, "outputs", "layout", {"role": "map", "dtype": "float32", "axes": [2, 3]}),
            "stage mask-small reads layout in another form than it has",
        ),
        (
            _tensor(SMALL, "inputs", "scores", {"role": "map", "dtype": "float32", "axes": ["n"]}),
            "stage mask-small reads scores, which nothing before it makes",
        ),
    ],
)
def test_what_does_not_fit_is_named(content: Content, change: Any, text: str) -> None:
    change(content)
    with pytest.raises((ModelFolderError, ContentError)) as caught:
        parse_manifest(content)
    assert text in str(caught.value)


def test_tensors_of_one_name_have_one_form(content: Content) -> None:
    """Also those that two stages make, each for its own windows."""
    for index, size in ((SMALL, 1), (LARGE, 2)):
        spec = {"role": "map", "dtype": "float32", "axes": ["n", size]}
        _tensor(index, "outputs", "code", spec)(content)
    with pytest.raises(ModelFolderError, match="mask-large makes code in another form than anoth"):
        parse_manifest(content)


def test_both_forms_have_ranks_or_none(content: Content) -> None:
    coarse = {key: json.loads(json.dumps(content[key])) for key in ("grids", "stages")}
    content["coarse"] = coarse
    manifest = parse_manifest(content)
    assert manifest.coarse_form().chains == manifest.chains
    for stage in coarse["stages"][SMALL:]:
        del stage["outputs"]["rank"]
    with pytest.raises(ModelFolderError, match="coarse: only one of the two forms has ranks"):
        parse_manifest(content)
