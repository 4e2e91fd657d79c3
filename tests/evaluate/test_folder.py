"""What an evaluation may be written over, and what it leaves alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.folder import require_comparison_folder, require_evaluation_folder
from deepmask.runtime.io.outputs import UnwritableError
from deepmask.runtime.io.written import RECORD
from tests.evaluate.scenes import deepmask_eval, evaluate_file


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {RECORD}


@pytest.fixture(scope="module")
def compared(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another evaluation, `poor`, and a comparison with it, `both`."""
    folder = tmp_path_factory.mktemp("compared")
    assert evaluate_file(files, "poor", "--out", folder / "poor").returncode == 0
    runs = (files / "whole", folder / "poor")
    assert deepmask_eval("compare", *runs, "--out", folder / "both").returncode == 0
    return folder


def test_every_file_that_is_written_is_looked_for(
    files: Path, compared: Path, tmp_path: Path
) -> None:
    """Alone in a folder, each stands for a stranger's file of that name."""
    for name in sorted(names_in(files / "whole")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("a stranger's")
        with pytest.raises(EvalError, match=f"{name}: exists and was not made by deepmask-eval"):
            require_evaluation_folder(folder)
    for name in sorted(names_in(compared / "both")):
        folder = tmp_path / f"compared-{name}"
        folder.mkdir()
        (folder / name).write_text("a stranger's")
        with pytest.raises(EvalError, match=f"{name}: exists and was not made by deepmask-eval"):
            require_comparison_folder(folder, [])


def test_a_strangers_file_is_told_before_any_work(files: Path, tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("mine")
    done = evaluate_file(files, "good", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "table.txt: exists and was not made by deepmask-eval" in done.stderr
    merged = deepmask_eval("merge", files / "whole", "--out", tmp_path)
    assert "table.txt: exists and was not made by deepmask-eval" in merged.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table.txt": "mine"}


def test_what_is_an_evaluations_may_be_there(files: Path, compared: Path, tmp_path: Path) -> None:
    require_evaluation_folder(tmp_path / "new")
    (tmp_path / "notes.txt").write_text("of another name")
    require_evaluation_folder(tmp_path)
    require_evaluation_folder(files / "whole")
    shutil.copy(files / "whole" / "records.jsonl", tmp_path)  # as a killed merge leaves it
    require_evaluation_folder(tmp_path)
    runs = (files / "whole", compared / "poor")
    require_comparison_folder(compared / "both", runs)


def test_a_comparison_that_was_changed_stays(files: Path, compared: Path, tmp_path: Path) -> None:
    runs = (files / "whole", compared / "poor")
    both = shutil.copytree(compared / "both", tmp_path / "both")
    require_comparison_folder(both, runs)
    (both / "table.txt").write_text("with remarks")
    with pytest.raises(EvalError, match=r"table\.txt: .*, or was changed since: choose another"):
        require_comparison_folder(both, runs)


def test_a_run_is_not_its_comparison(files: Path, compared: Path, tmp_path: Path) -> None:
    """Both have a table."""
    runs = (files / "whole", compared / "poor")
    for out in (*runs, compared / "poor" / ".." / "poor"):
        table = (out / "table.txt").read_text()
        done = deepmask_eval("compare", *runs, "--out", out)
        assert done.returncode == 2
        assert "holds an evaluation, with a table: choose another --out" in done.stderr
        assert (out / "table.txt").read_text() == table
    with pytest.raises(EvalError, match="is compared: choose another --out"):
        require_comparison_folder(tmp_path, [tmp_path])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for require in (require_evaluation_folder, lambda out: require_comparison_folder(out, [])):
        with pytest.raises(UnwritableError, match=r"file/new: cannot be written \(Not a direct"):
            require(tmp_path / "file" / "new")
