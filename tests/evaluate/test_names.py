"""The installed command measures names: a model's, a file's, those of boxes that are given."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.records import read_records, read_run
from tests.evaluate.scenes import Json, deepmask_eval, metrics_of, squares, write
from tests.runtime.named_model import write_named_model

RUN = ("--engine", "onnxruntime", "--device", "cpu", "--proposals", "60")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a dark and a bright square, named so; `model/`, and its results in `run/`."""
    folder = tmp_path_factory.mktemp("names")
    labels = squares(folder, count=4)
    for index, one in enumerate(labels["annotations"]):
        one["category_id"] = 1 + index % 2
    labels["categories"] = [{"id": 1, "name": "Dark"}, {"id": 2, "name": "bright"}]
    write(folder / "labels.json", labels)
    write_named_model(folder / "model", delta=False)
    done = measure(folder, "run", "--model", folder / "model")
    assert done.returncode == 0, done.stderr
    assert "box AP" in done.stdout
    assert "RetinaNet" in done.stdout
    return folder


def measure(folder: Path, out: str, *more: object) -> subprocess.CompletedProcess[str]:
    given = ("--annotations", folder / "labels.json", "--images", folder / "images")
    return deepmask_eval(*given, *more, *RUN, "--out", folder / out)


def test_a_model_that_names_everything_right(folder: Path) -> None:
    metrics = metrics_of(folder / "run")
    assert metrics["run"]["categories"] == {"1": "Dark", "2": "bright"}
    for found in metrics["classes"].values():
        assert found["AP50"] == found["VOC_AP"] == pytest.approx(1)
        assert found["AP"] > 0.7
        assert {one["name"]: one["objects"] for one in found["categories"]} == {
            **{"Dark": 4, "bright": 4}
        }
    table = (folder / "run" / "table.txt").read_text()
    for word in ("mask AP", "VOC 07", "category", "Dark", "names, by their probability"):
        assert word in table


def test_shards_join(folder: Path) -> None:
    for part in ("1/2", "2/2"):
        name = f"part{part[0]}"
        done = measure(folder, name, "--model", folder / "model", "--shard", part)
        assert done.returncode == 0, done.stderr
    parts = (folder / "part1", folder / "part2")
    assert deepmask_eval("merge", *parts, "--out", folder / "whole").returncode == 0
    whole, once = metrics_of(folder / "whole"), metrics_of(folder / "run")
    for kind in ("segm", "bbox"):
        assert whole["classes"][kind] == once["classes"][kind]


def test_results_of_a_file_and_boxes_that_are_given(folder: Path) -> None:
    """Boxes of one category are named by the model as its own are; alone they have no names."""
    labels = json.loads((folder / "labels.json").read_text())
    results: list[Json] = [
        {
            **{key: one[key] for key in ("image_id", "category_id", "bbox", "segmentation")},
            **{"score": 0.5, "category_score": 0.9},
        }
        for one in labels["annotations"]
    ]
    named = write(folder / "named.json", results)
    boxes = write(
        folder / "boxes.json",
        [{"image_id": one["image_id"], "bbox": one["bbox"], "score": 0.5} for one in results],
    )
    given = ("--annotations", folder / "labels.json")
    for path, out in ((named, "of-file"), (boxes, "no-names")):
        done = deepmask_eval(*given, "--proposals-json", path, "--out", folder / out)
        assert done.returncode == 0, done.stderr
    found = metrics_of(folder / "of-file")["classes"]
    assert {found[kind]["AP"] for kind in ("segm", "bbox")} == {1}
    assert "classes" not in metrics_of(folder / "no-names")
    done = measure(folder, "of-boxes", "--model", folder / "model", "--boxes-json", boxes)
    assert done.returncode == 0, done.stderr
    metrics = metrics_of(folder / "of-boxes")
    assert metrics["classes"]["bbox"]["AP"] == pytest.approx(1)
    assert list(metrics["classes"]) == ["bbox"]
    assert metrics["run"]["source"]["proposals_json"] == "boxes.json"
    assert metrics["bbox"]["AR@100"] == 1


def test_what_a_model_lacks_is_told(folder: Path) -> None:
    labels = json.loads((folder / "labels.json").read_text())
    labels["categories"].append({"id": 3, "name": "striped"})
    path = write(folder / "more.json", labels)
    done = deepmask_eval(
        *("--annotations", path, "--images", folder / "images", "--limit", 1),
        *("--model", folder / "model", *RUN, "--max-side", 55, "--out", folder / "small"),
    )
    assert done.returncode == 0, done.stderr
    small, once = metrics_of(folder / "small"), metrics_of(folder / "run")
    assert small["run"]["source"]["max_side"] == 55  # a quarter: the smaller square is not found
    assert "max_side" not in once["run"]["source"]
    assert small["segm"]["AR@100"] < once["segm"]["AR@100"]
    assert "note: the model has no striped: it finds none of these by name" in done.stderr


def test_labels_of_other_categories_say_nothing_of_names(folder: Path, tmp_path: Path) -> None:
    labels = json.loads((folder / "labels.json").read_text())
    for number, one in enumerate(labels["categories"]):
        one["name"] = f"striped{number}"
    done = deepmask_eval(
        *("--annotations", write(tmp_path / "labels.json", labels), "--images", folder / "images"),
        *("--model", folder / "model", *RUN, "--limit", 1, "--out", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    assert "note: the model has no striped0, striped1" in done.stderr
    assert "classes" not in metrics_of(tmp_path / "run")


@pytest.mark.parametrize(("name", "shown"), [("", "1"), ("x" * 300, "x" * 200)])
def test_names_that_labels_should_not_have_are_reported(
    folder: Path, tmp_path: Path, name: str, shown: str
) -> None:
    labels = json.loads((folder / "labels.json").read_text())
    labels["categories"][0]["name"] = name
    results = [
        {**{key: one[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.5}
        for one in labels["annotations"]
    ]
    done = deepmask_eval(
        *("--annotations", write(tmp_path / "labels.json", labels)),
        *("--proposals-json", write(tmp_path / "results.json", results)),
        *("--out", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    assert metrics_of(tmp_path / "run")["classes"]["bbox"]["categories"][0]["name"] == shown


def test_a_score_of_a_category_is_a_probability(folder: Path, tmp_path: Path) -> None:
    labels = json.loads((folder / "labels.json").read_text())
    one = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
    path = write(tmp_path / "results.json", [{**one, "category_score": 1.5}])
    labels["images"] = labels["images"][:1]
    labels["annotations"] = [item for item in labels["annotations"] if item["image_id"] == 1]
    given = ("--annotations", write(tmp_path / "labels.json", labels), "--proposals-json", path)
    done = deepmask_eval(*given, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "result 0: category_score must be a probability, 0 to 1, not 1.5" in done.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--proposals-json", "labels.json"),
            "--proposals-json and --boxes-json exclude each other",
        ),
        (("--zoom",), "--zoom has no effect on --boxes-json: leave it"),
        ((), "squares has no categories to name boxes with: give the --model of one that has"),
    ],
)
def test_wrong_use(
    folder: Path, square_model: Path, options: tuple[object, ...], text: str
) -> None:
    write(folder / "some.json", [{"image_id": 1, "bbox": [0, 0, 9, 9], "score": 1}])
    given = [folder / one if one == "labels.json" else one for one in options]
    model = () if "--proposals-json" in options else ("--model", square_model)
    done = deepmask_eval(
        *("--annotations", folder / "labels.json", "--images", folder / "images"),
        *("--boxes-json", folder / "some.json", *model, *given),
    )
    assert done.returncode == 2
    assert text in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[0].pop(),
        lambda rows: rows[0][1].append(0.5),
        lambda rows: rows[0].__setitem__(1, "scores"),
        lambda rows: rows[0][2].pop(),
        lambda rows: rows[0][5].__setitem__(0, 7),
        lambda rows: rows[0][2][0].__setitem__(0, 1 << 12),
        lambda rows: rows[0][4].__setitem__(0, -1),
        lambda rows: rows.append(3),
    ],
)
def test_records_that_are_none_are_refused(folder: Path, tmp_path: Path, change: Any) -> None:
    [*lines] = (folder / "run" / "records.jsonl").read_text().splitlines()
    entry = json.loads(lines[0])
    assert next(one.classes for one in read_records(folder / "run"))
    change(entry["classes"]["segm"])
    write(tmp_path / "records.jsonl", entry)
    with pytest.raises(EvalError, match="line 1 is not a record"):
        list(read_records(tmp_path))


@pytest.mark.parametrize("categories", [[], {"cat": "cat"}, {"1": 7}, {"1": "a\n"}])
def test_runs_that_are_none_are_refused(folder: Path, tmp_path: Path, categories: Any) -> None:
    run = read_run(folder / "run")
    write(tmp_path / "run.json", {**run, "categories": categories})
    with pytest.raises(EvalError, match="is not as deepmask-eval writes it"):
        read_run(tmp_path)
