"""Files and folders that appear whole, and what killed processes leave of them."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.io import atomic
from deepmask.runtime.io.atomic import abort, atomic_write, commit, new_file, remove_stale
from deepmask.runtime.io.atomic import staging_folder as staging

Patch = pytest.MonkeyPatch

needs_locks = pytest.mark.skipif(not atomic._HAS_LOCKS, reason="no file locks on this system")


def temporary(name: str, number: str = "1f", machine: str = atomic._MACHINE) -> str:
    """Return a temporary name as a process picks it for `name`, with `number` at random."""
    return f"{name}.{number}.{machine}.deepmask-tmp"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    with pytest.raises(type(failure)), atomic_write(path) as file:  # noqa: PT012
        file.write(b"new")
        raise failure
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.pt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    for name, mode in (("a", 0o666), ("b", 0o600)):
        with atomic_write(tmp_path / name, mode):
            pass
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes["a"] == modes["plain"]
    assert modes["b"] == 0o600


def test_two_that_make_the_same_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    first, one = new_file(path)
    second, other = new_file(path)
    assert first != second
    one.write(b"1")
    other.write(b"2")
    commit(other, second, path)
    assert path.read_bytes() == b"2"
    abort(other, second)  # Ctrl-C may come just after the renaming
    abort(one, first)
    assert path.read_bytes() == b"2"
    assert names(tmp_path) == ["a.pt"]
    with staging(path) as folder, staging(path) as another:
        assert folder != another
    assert names(tmp_path) == ["a.pt"]


@needs_locks
def test_a_file_is_locked_until_it_has_its_name(tmp_path: Path, monkeypatch: Patch) -> None:
    """If it were closed before, another process could take it for stale and remove it."""
    replace = Path.replace

    def remove_first(self: Path, target: Path) -> Path:
        remove_stale(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", remove_first)
    with atomic_write(tmp_path / "a.pt") as file:
        file.write(b"1")
    assert (tmp_path / "a.pt").read_bytes() == b"1"


@pytest.mark.parametrize("make", [atomic_write, staging])
def test_taken_names_stay(tmp_path: Path, monkeypatch: Patch, make: Callable[[Path], Any]) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "1f")
    (tmp_path / temporary("a.pt")).write_bytes(b"mine")
    with pytest.raises(FileExistsError), make(tmp_path / "a.pt"):
        pass
    assert (tmp_path / temporary("a.pt")).read_bytes() == b"mine"


@needs_locks
@pytest.mark.parametrize("before", ["open", "lock"])
def test_what_vanishes_unlocked_is_made_again(
    tmp_path: Path, monkeypatch: Patch, before: str
) -> None:
    """Another process's `remove_stale` may come before a new file or folder is locked."""
    import fcntl

    opened, locked, removed = os.open, fcntl.flock, list[bool]()

    def late_open(path: Path, *arguments: int, **rest: Any) -> int:
        if before == "open" and isinstance(path, Path) and path.is_dir() and not removed:
            removed.append(True)
            path.rmdir()
        return opened(path, *arguments, **rest)

    def late_lock(descriptor: int, how: int) -> None:
        if before == "lock" and not removed:
            removed.append(True)
            remove_stale(tmp_path / "a.pt")
        locked(descriptor, how)

    monkeypatch.setattr(os, "open", late_open)
    monkeypatch.setattr(fcntl, "flock", late_lock)
    with atomic_write(tmp_path / "a.pt") as file:
        file.write(b"1")
    removed.clear()
    with staging(tmp_path / "a.pt") as folder:
        assert folder.is_dir()
    assert removed
    assert (tmp_path / "a.pt").read_bytes() == b"1"
    assert names(tmp_path) == ["a.pt"]


def test_where_the_system_has_no_locks(tmp_path: Path, monkeypatch: Patch) -> None:
    """As on Windows: everything appears whole, and nothing stale is removed."""
    monkeypatch.setattr(atomic, "_HAS_LOCKS", False)
    (tmp_path / temporary("a.pt")).touch()
    with atomic_write(tmp_path / "a.pt") as file:
        file.write(b"1")
    with staging(tmp_path / "a.pt") as folder:
        assert folder.is_dir()
    remove_stale(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == b"1"
    assert names(tmp_path) == ["a.pt", temporary("a.pt")]
