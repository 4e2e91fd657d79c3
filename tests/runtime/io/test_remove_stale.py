"""What killed processes left of whole files is removed, and nothing else."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from deepmask.runtime.io import atomic
from deepmask.runtime.io.atomic import atomic_write, remove_stale
from deepmask.runtime.io.results import ResultsWriter
from deepmask.runtime.io.written import RECORD
from tests.runtime.io.test_atomic import names, needs_locks, temporary

Patch = pytest.MonkeyPatch
Halfway = subprocess.Popen[str]
#: Makes a file and a folder, says so, and waits to be killed.
HALFWAY = """
import sys
from pathlib import Path
from deepmask.runtime.io.atomic import new_file, staging_folder
_, file = new_file(Path("a.pt"), buffering=0)
file.write(b"half")
with staging_folder(Path("model")) as folder:
    (folder / "new").mkdir()
    (folder / "new" / "trunk.onnx").write_bytes(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def halfway(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that is making a.pt and model/ in `tmp_path`."""
    command = [sys.executable, "-c", HALFWAY]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@needs_locks
def test_a_living_process_is_left_alone(tmp_path: Path, halfway: Halfway) -> None:
    before = names(tmp_path)
    assert len(before) == 2
    for name, final in zip(before, ("a.pt", "model"), strict=True):
        assert re.fullmatch(temporary(re.escape(final), "[0-9a-f]{16}"), name)
    remove_stale(tmp_path / "a.pt", tmp_path / "model")
    assert names(tmp_path) == before
    assert (tmp_path / before[1] / "new" / "trunk.onnx").read_bytes() == b"half"


@needs_locks
def test_what_killed_processes_left_goes(tmp_path: Path, halfway: Halfway) -> None:
    """Nothing else is: neither files of other names, nor what only looks like a leftover."""
    halfway.kill()
    halfway.wait()
    others = ["a.pt", "a.pt.tmp", "a.pt.2023.tmp", "a.pt.1.deepmask-tmp", "model"]
    others += [temporary(name) for name in ("b.pt", "not-a.pt", "a.pt.x")]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / temporary("a.pt")).symlink_to("a.pt")
    os.mkfifo(tmp_path / temporary("a.pt", "2"))
    folders = ["model.2023.tmp", temporary("model")]
    for name in folders:
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "photograph.jpg").touch()
    kept = sorted([*others, *folders, temporary("a.pt"), temporary("a.pt", "2")])
    assert len(names(tmp_path)) == len(kept) + 2
    remove_stale(tmp_path / "a.pt", tmp_path / "model", tmp_path / "nowhere" / "a.pt")
    assert names(tmp_path) == kept
    assert all((tmp_path / name / "photograph.jpg").exists() for name in folders)


@needs_locks
def test_what_another_machine_left_stays(tmp_path: Path, monkeypatch: Patch) -> None:
    """Its locks may not be seen here, so it may still be at work."""
    for name in ("a.pt", "model"):
        (tmp_path / temporary(name, machine="0" * 8)).mkdir()
        (tmp_path / temporary(name, "2", machine="f" * 8)).touch()
        (tmp_path / temporary(name, "3")).mkdir()
        (tmp_path / temporary(name, "4")).touch()
    remove_stale(tmp_path / "a.pt", tmp_path / "model")
    assert names(tmp_path) == sorted(
        temporary(name, number, machine * 8)
        for name in ("a.pt", "model")
        for number, machine in (("1f", "0"), ("2", "f"))
    )
    assert atomic._machine() == atomic._MACHINE
    assert re.fullmatch(atomic.TEMPORARY_END, temporary(""))
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert atomic._machine() != atomic._MACHINE


@needs_locks
def test_nothing_is_swept_unlocked(tmp_path: Path, halfway: Halfway, monkeypatch: Patch) -> None:
    halfway.kill()
    halfway.wait()
    refuse = Mock(side_effect=OSError(37, "No locks available"))
    monkeypatch.setattr("fcntl.flock", refuse)
    remove_stale(tmp_path / "a.pt", tmp_path / "model")
    assert len(names(tmp_path)) == 2
    with atomic_write(tmp_path / "a.pt") as file:
        file.write(b"1")
    assert (tmp_path / "a.pt").read_bytes() == b"1"


@needs_locks
def test_results_replace_what_killed_runs_left_of_them(tmp_path: Path) -> None:
    """Once they have their names, and not before: what was left may be all that there is."""
    left = [tmp_path / temporary(name) for name in ("p.json", "p.images.json")]
    for path in left:
        path.write_text("[]")
    with ResultsWriter(tmp_path / "p.json"):
        pass
    assert all(path.exists() for path in left)
    with ResultsWriter(tmp_path / "p.json") as writer:
        writer.add([], 1, "a", 2, 3)
        assert all(path.exists() for path in left)
    assert names(tmp_path) == [RECORD, "p.images.json", "p.json"]
