"""Files and folders that appear whole, and what killed processes leave of them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from deepmask.runtime.io import atomic
from deepmask.runtime.io.atomic import discard, new_file, publish, sweep, whole_file, workplace
from deepmask.runtime.io.results import ResultsWriter

needs_locks = pytest.mark.skipif(not atomic._HAS_LOCKS, reason="no file locks on this system")

#: Makes a file and a folder, says so, and waits to be killed.
HALFWAY = """
import sys
from pathlib import Path
from deepmask.runtime.io.atomic import new_file, workplace
_, file = new_file(Path("a.pt"), buffering=0)
file.write(b"half")
with workplace(Path("model")) as folder:
    (folder / "new").mkdir()
    (folder / "new" / "trunk.onnx").write_bytes(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def halfway(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work on a.pt and model/ in `tmp_path`."""
    command = [sys.executable, "-c", HALFWAY]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def temporary(name: str, number: int = 1, machine: str = atomic._MACHINE) -> str:
    """What a process of that number calls a file until it has its name."""
    return f"{name}.{number}.{machine}.deepmask-tmp"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"new")
        raise failure

    with pytest.raises(type(failure)), whole_file(path) as file:
        fail(file)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.pt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_permissions(tmp_path: Path) -> None:
    """Those of any new file, or fewer where that is asked for."""
    (tmp_path / "plain").touch()
    for name, mode in (("a", 0o666), ("b", 0o600)):
        with whole_file(tmp_path / name, mode):
            pass
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes["a"] == modes["plain"]
    assert modes["b"] == 0o600


@needs_locks
def test_what_a_living_process_makes_is_left_alone(
    tmp_path: Path, halfway: subprocess.Popen[str]
) -> None:
    before = names(tmp_path)
    assert before == [temporary("a.pt", halfway.pid), temporary("model", halfway.pid)]
    sweep(tmp_path / "a.pt", tmp_path / "model")
    assert names(tmp_path) == before
    assert (tmp_path / before[1] / "new" / "trunk.onnx").read_bytes() == b"half"


@needs_locks
def test_what_a_killed_process_left_is_removed(
    tmp_path: Path, halfway: subprocess.Popen[str]
) -> None:
    """Nothing else is: not the files of other names, nor what only looks like one of these."""
    halfway.kill()
    halfway.wait()
    others = ["a.pt", "a.pt.tmp", "a.pt.2023.tmp", "a.pt.1.deepmask-tmp", "model"]
    others += [temporary(name) for name in ("b.pt", "not-a.pt", "a.pt.x")]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / temporary("a.pt")).symlink_to("a.pt")
    folders = ["model.2023.tmp", temporary("model")]
    for name in folders:
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "photograph.jpg").touch()
    kept = sorted([*others, *folders, temporary("a.pt")])
    assert len(names(tmp_path)) == len(kept) + 2
    sweep(tmp_path / "a.pt", tmp_path / "model", tmp_path / "nowhere" / "a.pt")
    assert names(tmp_path) == kept
    assert all((tmp_path / name / "photograph.jpg").exists() for name in folders)


@needs_locks
def test_what_another_machine_left_stays(tmp_path: Path) -> None:
    """Its locks may not be seen here, so it may still be at work."""
    for name in ("a.pt", "model"):
        (tmp_path / temporary(name, machine="0" * 8)).mkdir()
        (tmp_path / temporary(name, 2, machine="f" * 8)).touch()
        (tmp_path / temporary(name, 3)).mkdir()
        (tmp_path / temporary(name, 4)).touch()
    sweep(tmp_path / "a.pt", tmp_path / "model")
    assert names(tmp_path) == sorted(
        temporary(name, number, machine * 8)
        for name in ("a.pt", "model")
        for number, machine in ((1, "0"), (2, "f"))
    )


def test_a_machine_has_one_mark_and_others_have_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert atomic._machine() == atomic._MACHINE
    assert re.fullmatch(atomic.TEMPORARY_END, temporary(""))
    monkeypatch.setattr(atomic.platform, "node", lambda: "another")
    assert atomic._machine() != atomic._MACHINE


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    for make in (whole_file, workplace):
        with pytest.raises(FileNotFoundError), make(tmp_path / "nowhere" / "a"):
            pass


def test_a_name_in_use_is_not_used_again(tmp_path: Path) -> None:
    """Machines that share a folder, and containers, have processes of the same number."""
    path = tmp_path / "a.pt"
    first, one = new_file(path)
    second, other = new_file(path)
    assert first != second
    one.write(b"1")
    other.write(b"2")
    publish(other, second, path)
    assert path.read_bytes() == b"2"
    discard(one, first)
    assert names(tmp_path) == ["a.pt"]
    with workplace(path) as folder, workplace(path) as another:
        assert folder != another
    assert names(tmp_path) == ["a.pt"]


def test_a_file_that_was_published_is_not_discarded(tmp_path: Path) -> None:
    """Ctrl-C may come just after the renaming, and another's new file may have the name by then."""
    path = tmp_path / "a.pt"
    first, one = new_file(path)
    one.write(b"1")
    if not atomic._HAS_LOCKS:
        one.close()
    first.replace(path)
    second, other = new_file(path)
    assert second == first
    discard(one, first)
    other.write(b"2")
    publish(other, second, path)
    assert path.read_bytes() == b"2"
    assert names(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("make", [whole_file, workplace])
def test_names_are_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(atomic, "_NAMES", 3)
    for number in range(3):
        (tmp_path / temporary("a.pt", os.getpid() + number)).mkdir()
    before = names(tmp_path)
    told = "no temporary name beside it could be had"
    with pytest.raises(OSError, match=told), make(tmp_path / "a.pt"):
        pass
    assert names(tmp_path) == before


@needs_locks
@pytest.mark.parametrize("make", [whole_file, workplace])
def test_where_files_cannot_be_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any]
) -> None:
    """With locks that is told; without, it does not matter, since nothing is swept."""
    monkeypatch.setattr(atomic, "_is_at", lambda descriptor, path: False)
    told = "no temporary name beside it could be had"
    with pytest.raises(OSError, match=told), make(tmp_path / "a.pt"):
        pass
    assert len(names(tmp_path)) <= atomic._LOST
    monkeypatch.setattr(atomic, "_lock", lambda descriptor: None)
    with make(tmp_path / "b.pt"):
        pass


@needs_locks
def test_a_sweep_between_making_and_locking_costs_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = atomic._lock, []

    def late(descriptor: int) -> bool | None:
        if not swept:
            swept.append(True)
            sweep(tmp_path / "a.pt")
        return lock(descriptor)

    monkeypatch.setattr(atomic, "_lock", late)
    with whole_file(tmp_path / "a.pt") as file:
        file.write(b"1")
    swept.clear()
    with workplace(tmp_path / "a.pt") as folder:
        assert folder.is_dir()
    assert (tmp_path / "a.pt").read_bytes() == b"1"
    assert names(tmp_path) == ["a.pt"]


@needs_locks
def test_where_there_are_no_locks_nothing_is_swept(
    tmp_path: Path, halfway: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have none: files still appear whole."""
    halfway.kill()
    halfway.wait()

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    sweep(tmp_path / "a.pt", tmp_path / "model")
    assert len(names(tmp_path)) == 2
    with whole_file(tmp_path / "a.pt") as file:
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
    assert names(tmp_path) == ["p.images.json", "p.json"]
