"""The installed command on parts of a set: torn runs resume, shards join, runs are compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluate.scenes import (
    METRICS,
    deepmask_eval,
    evaluate_file,
    figures_only,
    metrics_of,
    write,
)


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_run_resumes_to_the_same_figures(files: Path, tmp_path: Path, cut: int) -> None:
    """As a kill leaves it: some records whole, the last one cut off somewhere."""
    lines = (files / "whole/records.jsonl").read_bytes().splitlines(keepends=True)
    shutil.copy(files / "whole/run.json", tmp_path / "run.json")
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:-cut])
    refused = evaluate_file(files, "good", "--out", tmp_path)
    assert refused.returncode == 1
    assert "already holds an evaluation: --resume continues it" in refused.stderr
    other = evaluate_file(files, "poor", "--out", tmp_path, "--resume", "--name", "good")
    assert other.returncode == 1
    assert "cannot be resumed: its source is" in other.stderr
    done = evaluate_file(files, "good", "--out", tmp_path, "--resume")
    assert done.returncode == 0, done.stderr
    assert metrics_of(tmp_path) == metrics_of(files / "whole")
    assert (tmp_path / "records.jsonl").read_bytes() == b"".join(lines)


def test_a_resumed_run_may_take_in_more_images_but_not_fewer(files: Path, tmp_path: Path) -> None:
    assert evaluate_file(files, "good", "--out", tmp_path, "--limit", "3").returncode == 0
    assert metrics_of(tmp_path)["images"] == 3
    assert evaluate_file(files, "good", "--out", tmp_path, "--resume").returncode == 0
    assert figures_only(metrics_of(tmp_path)) == figures_only(metrics_of(files / "whole"))
    fewer = evaluate_file(files, "good", "--out", tmp_path, "--limit", "3", "--resume")
    assert fewer.returncode == 1
    assert "it holds 7 images that this run leaves out" in fewer.stderr


def test_shards_merge_to_the_whole(files: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{i}" for i in (1, 2)]
    for index, part in enumerate(parts, 1):
        assert evaluate_file(files, "good", "--shard", f"{index}/2", "--out", part).returncode == 0
    done = deepmask_eval("merge", parts[1], parts[0], "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    merged = metrics_of(tmp_path / "all")
    assert figures_only(merged) == figures_only(metrics_of(files / "whole"))
    assert merged["run"]["shard"] == [1, 1]
    half = deepmask_eval("merge", parts[1], "--out", tmp_path / "half")
    assert half.returncode == 0
    assert "PARTIAL: not measured: 5 of 10 images." in half.stdout
    for arguments, message in (
        ([parts[0], parts[0]], "are the same shard, 1"),
        ([parts[0], files / "whole"], "is no shard of the run"),
        ([tmp_path], "has no run.json"),
    ):
        refused = deepmask_eval("merge", *arguments, "--out", tmp_path / "no")
        assert refused.returncode == 1
        assert message in refused.stderr
        assert not (tmp_path / "no").exists()


def test_compare_pairs_runs_on_the_same_images(files: Path, tmp_path: Path) -> None:
    assert evaluate_file(files, "poor", "--out", tmp_path / "poor").returncode == 0
    out = tmp_path / "both"
    done = deepmask_eval("compare", files / "whole", tmp_path / "poor", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "difference from good on the same images" in done.stdout
    comparison = json.loads((out / "comparison.json").read_text())
    change = comparison["differences"]["poor"]["segm"]
    runs = comparison["runs"]
    for name in METRICS:
        expected = runs["poor"]["segm"][name] - runs["good"]["segm"][name]
        assert change[name] == pytest.approx(expected)
    low, high = change["intervals"]["AR@100"]
    assert low < change["AR@100"] < high < 0
    own = [np.diff(runs[name]["segm"]["intervals"]["AR@100"])[0] for name in ("good", "poor")]
    assert high - low < np.hypot(*own), "pairing gains nothing"
    with Image.open(out / "comparison.png") as image:
        assert image.width > 1000
    same = deepmask_eval("compare", files / "whole", files / "whole")
    assert same.returncode == 1
    assert "the same folder is given twice" in same.stderr
    labels = json.loads((files / "labels.json").read_text())
    labels["annotations"].pop()
    write(tmp_path / "labels.json", labels)
    shutil.copy(files / "good.json", tmp_path / "good.json")
    assert evaluate_file(tmp_path, "good", "--out", tmp_path / "other").returncode == 0
    refused = deepmask_eval("compare", files / "whole", tmp_path / "other")
    assert refused.returncode == 1
    assert "compare runs on the same objects" in refused.stderr
