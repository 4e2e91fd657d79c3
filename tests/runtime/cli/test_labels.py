"""Names on the objects, in the table and in every file; which of them are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from deepmask.runtime.cli.labels import Labels, labels_of
from deepmask.runtime.model.folder import read_manifest
from deepmask.runtime.model.manifest import Manifest
from tests.runtime.cli.test_objects import pixels, table
from tests.runtime.cli.test_run import CPU, results_of, run
from tests.runtime.named_model import write_named_model

GIVEN: dict[str, Any] = {"labels": None, "categories": None, "label_score": None}
LISTED = {3: "dark", 7: "bright", 8: "object"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/`, and `a.png` with two dark squares, a bright one, and a faint one."""
    folder = tmp_path_factory.mktemp("named")
    write_named_model(folder / "model")
    picture = np.full((160, 200, 3), 127, np.uint8)
    for x, y, gray in ((20, 20, 5), (120, 20, 250), (20, 100, 20), (120, 100, 135)):
        picture[y : y + 32, x : x + 32] = gray
    Image.fromarray(picture).save(folder / "a.png")
    return folder


def categories(path: Path) -> dict[int, str]:
    listed = json.loads(path.with_suffix(".images.json").read_text())["categories"]
    return {one["id"]: one["name"] for one in listed}


def test_names_are_written_everywhere(folder: Path) -> None:
    words = ("--overlay", "o.png", "--html", "p.html", "--out", "r.json", "--force")
    done = run("a.png", *CPU, *words, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    results = results_of(folder / "r.json")
    assert categories(folder / "r.json") == LISTED
    about = json.loads((folder / "r.images.json").read_text())["info"]["description"]
    assert "the first 100 proposals of an image are named" in about
    names = [LISTED[result["category_id"]] for result in results]
    assert sorted(names)[:3] == ["bright", "dark", "dark"]
    rows = table(done.stdout)
    for row, name, result in zip(rows, names, results, strict=True):
        likely = [name, f"{result['category_score']:.2f}"]
        assert row[7:] == (["-"] if name == "object" else likely)
    page = (folder / "p.html").read_text()
    shown = [
        one["name"] for one in json.loads(page.split('a.png">')[1].split("</script>")[0])["objects"]
    ]
    assert shown == [name if name != "object" else "" for name in names]
    named = pixels(folder / "o.png")
    done = run("a.png", *CPU, *words, "--no-labels", cwd=folder)
    assert {result["category_id"] for result in results_of(folder / "r.json")} == {1}
    assert "category_score" not in results_of(folder / "r.json")[0]
    assert categories(folder / "r.json") == {1: "object"}
    assert not {"name", "dark", "bright"} & set(done.stdout.split("object ")[1].split())
    assert (pixels(folder / "o.png") != named).any()


def test_other_formats(folder: Path) -> None:
    options = ("--labels", "--label-score", 0.9, "--out", "out")
    assert run("a.png", *CPU, *options, "--format", "labelme", cwd=folder).returncode == 0
    shapes = json.loads((folder / "out" / "a.json").read_text())["shapes"]
    labels = {shape["group_id"]: shape["label"] for shape in shapes}
    assert sorted(labels.values())[:3] == ["bright", "dark", "dark"]
    assert run("a.png", *CPU, *options, "--format", "yolo-seg", cwd=folder).returncode == 0
    lines = (folder / "out" / "a.txt").read_text().splitlines()
    numbers = [["dark", "bright", "object"][int(line.split()[0])] for line in lines]
    assert numbers == list(labels.values())
    data = (folder / "out" / "data.yaml").read_text().splitlines()
    assert data[1:] == [
        *('train: ".."', 'val: ".."', "names:", '  0: "dark"', '  1: "bright"', '  2: "object"')
    ]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("dark,", {"dark"}),
        ("Bright, DARK", {"dark", "bright"}),
        ("7", {"bright"}),
        ("object", {"object"}),
        ("object,dark", {"dark", "object"}),
    ],
)
def test_some_categories_are_kept(folder: Path, wanted: str, names: set[str]) -> None:
    options = ("--categories", wanted, "--label-score", 0.9, "--out", "some.json", "--force")
    for more in ((), ("--proposals", 80)):
        done = run("a.png", *CPU, *options, *more, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert {LISTED[r["category_id"]] for r in results_of(folder / "some.json")} == names
        shown = {"-" if name == "object" else name for name in names}
        assert {row[7] for row in table(done.stdout)} in (shown, shown - {"-"} if more else shown)


def test_a_category_adds_no_object(folder: Path) -> None:
    """Those that are kept are some of those that are shown without the option."""
    options = ("--top", 1, "--out", "one.json", "--force")
    [shown] = table(run("a.png", *CPU, *options, cwd=folder).stdout)
    for category in ("dark", "bright"):
        done = run("a.png", *CPU, *options, "--categories", category, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert table(done.stdout) == [shown] * (category == shown[7])


@pytest.fixture(scope="module")
def named(folder: Path) -> Manifest:
    return read_manifest(folder / "model")


@pytest.fixture(scope="module")
def plain(model_folder: Path) -> Manifest:
    return read_manifest(model_folder)


def test_what_options_ask_for(named: Manifest, plain: Manifest) -> None:
    unnamed = Labels(False, None, {1: "object"})
    assert labels_of(named, GIVEN) == Labels(True, None, LISTED)
    assert labels_of(named, {**GIVEN, "labels": True}) == Labels(True, None, LISTED)
    assert labels_of(named, {**GIVEN, "labels": False}) == unnamed
    assert labels_of(plain, GIVEN) == labels_of(plain, {**GIVEN, "labels": False}) == unnamed
    assert labels_of(plain, {**GIVEN, "categories": "Object"}) == unnamed  # which all of them are


@pytest.mark.parametrize(
    ("with_names", "given", "text"),
    [
        (False, {"labels": True}, "--labels: squares has no categories: leave it out, or give the"),
        (False, {"categories": "dog"}, "--categories: squares has no categories: leave it out"),
        (False, {"label_score": 0.5}, "--label-score: squares has no categories: leave it out"),
        (True, {"categories": "dark,dog"}, "the model has no 'dog'; it has dark, bright"),
        (True, {"categories": ""}, "--categories: names nothing; give names between commas, as"),
        (False, {"categories": " ,"}, "--categories: names nothing; give names between commas"),
        (False, {"categories": "object,dog"}, "--categories: squares has no categories: leave it"),
        (True, {"labels": False, "categories": "dark"}, "--no-labels and --categories exclude"),
        (True, {"labels": False, "label_score": 0.1}, "--no-labels and --label-score exclude each"),
    ],
)
def test_what_cannot_be_is_refused(
    named: Manifest, plain: Manifest, with_names: bool, given: dict[str, Any], text: str
) -> None:
    with pytest.raises(click.UsageError) as caught:
        labels_of(named if with_names else plain, {**GIVEN, **given})
    assert text in caught.value.message
    assert "\n" not in caught.value.message


def test_wrong_use_exits_with_2(folder: Path) -> None:
    done = run("a.png", *CPU, "--categories", "dog", "--out", "never.json", cwd=folder)
    assert done.returncode == 2
    told = "Error: --categories: the model has no 'dog'; it has dark, bright, object; 'object' "
    rest = "stands for those without a name (deepmask-trt-run --help explains)"
    assert done.stderr.splitlines()[-1] == told + rest
    assert not (folder / "never.json").exists()
