"""Selective Search's boxes in a results file, with a search made up here, and the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO

from benchmarks import selective_search
from benchmarks.selective_search import MISSING, Journal, to_results, ximgproc
from deepmask.evaluate.errors import EvalError
from deepmask.runtime.io.written import RECORD

ROOT = Path(__file__).resolve().parents[2]
needs_ximgproc = pytest.mark.skipif(ximgproc() is None, reason=MISSING)


Boxes: TypeAlias = npt.NDArray[Any]


@dataclass
class Command:
    """The command in this process; `searched` and `failing` are ids of images."""

    run: Callable[..., int]
    searched: list[int] = field(default_factory=list)
    failing: set[int] = field(default_factory=set)


def run_here(
    drawn: tuple[Path, Path], out: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.selective_search", *options, "--out", str(out)]
    command += ["--annotations", str(drawn[0]), "--images", str(drawn[1])]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def command(drawn: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command here, with a search that finds 3 + image id boxes."""

    def made_up(image: Boxes, mode: str, seed: int) -> Boxes:
        if seed in here.failing:
            raise KeyboardInterrupt
        here.searched.append(seed)
        return np.array([[k, 2, 3, 4 + seed] for k in range(3 + seed)], np.int32)

    monkeypatch.setattr(selective_search, "search", made_up)
    monkeypatch.setattr(selective_search, "ximgproc", lambda: True)

    def run(*options: str) -> int:
        here.searched.clear()
        arguments = ["--annotations", drawn[0], "--images", drawn[1], "--out", tmp_path / "x.json"]
        monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments), *options])
        with pytest.raises(SystemExit) as stop:
            selective_search.main()
        return int(stop.value.code or 0)

    here = Command(run)
    return here


def test_scores_fall_with_the_order_of_the_boxes() -> None:
    results = to_results([[5, 6, 7, 8], [1, 2, 3, 4], [0, 0, 9, 9]], 42)
    assert [result["bbox"] for result in results] == [[5, 6, 7, 8], [1, 2, 3, 4], [0, 0, 9, 9]]
    scores = [result["score"] for result in results]
    assert scores == sorted(set(scores), reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert {result["image_id"] for result in results} == {42}
    assert len({r["score"] for r in to_results([[0, 0, 1, 1]] * 1000, 1)}) == 1000


def test_results_are_cocos_and_say_how_they_were_made(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run("--proposals", "5") == 0
    assert "6 images" in capsys.readouterr().out
    results = COCO(str(tmp_path / "x.images.json")).loadRes(str(tmp_path / "x.json"))
    assert [len(results.getAnnIds(imgIds=[i])) for i in range(1, 7)] == [4, 5, 5, 5, 5, 5]
    about = json.loads((tmp_path / "x.about.json").read_text())
    assert about["method"] == "Selective Search, fast"
    assert about["images"] == 6
    assert about["processor_seconds"]["median"] >= 0
    names = {"x.json", "x.images.json", "x.about.json", RECORD}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_an_interrupted_search_goes_on(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run() == 0
    whole = (tmp_path / "x.json").read_bytes()
    (tmp_path / "x.json").unlink()
    command.failing.add(4)
    assert command.run() == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
    partial = tmp_path / "x.partial.jsonl"
    partial.write_bytes(partial.read_bytes()[:-3])  # as a kill leaves it: image 3 is torn
    command.failing.clear()
    assert command.run() == 0
    assert command.searched == [3, 4, 5, 6]
    assert (tmp_path / "x.json").read_bytes() == whole
    assert not partial.exists()


def test_an_unreadable_image_is_named_and_the_others_are_done(
    command: Command, drawn: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(drawn[0].read_text())
    content["images"][1]["file_name"] = "gone.png"
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert command.run("--annotations", str(tmp_path / "labels.json")) == 1
    assert "gone.png" in capsys.readouterr().err
    assert command.searched == [1, 3, 4, 5, 6]
    assert (tmp_path / "x.json").exists()


def test_a_foreign_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_text('{"mode":"fast"}\n{"image_id":1}\n')
    with pytest.raises(EvalError, match=r"j: left by a run of .*fast.*: delete it"):
        Journal(tmp_path / "j", {"mode": "single"})
    (tmp_path / "j").write_text('{"mode":"single"}\nno JSON\n')
    with pytest.raises(EvalError, match="is not what an interrupted run leaves"):
        Journal(tmp_path / "j", {"mode": "single"})


def test_wrong_use_and_a_missing_library_are_one_line(
    drawn: tuple[Path, Path], tmp_path: Path
) -> None:
    done = run_here(drawn, tmp_path / "x.json", "--proposals", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("--proposals and --threads must be 1 or more")


@needs_ximgproc
def test_the_real_search_finds_a_square_and_is_repeatable() -> None:
    image = np.full((60, 80, 3), 30, np.uint8)
    image[20:45, 30:60] = (220, 180, 40)
    boxes = selective_search.search(image, "fast", 7)
    assert boxes.dtype == np.int32
    assert (np.abs(boxes - (30, 20, 30, 25)).max(axis=1) <= 2).any()
    assert (boxes[:, :2] + boxes[:, 2:] <= (80, 60)).all()
    assert np.array_equal(boxes, selective_search.search(image, "fast", 7))
