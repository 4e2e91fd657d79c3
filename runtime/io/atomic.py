"""Write files and folders that appear whole or not at all: under a temporary name, then renamed.

A process locks what it is making until it ends, so `remove_stale` can tell what killed processes
left. Machines may not see each other's locks: each removes only names with its own mark.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: nothing stale is removed, and open files cannot be renamed
    fcntl = None  # type: ignore[assignment]

_HAS_LOCKS: bool = fcntl is not None

#: What a `staging_folder` may hold: the thing being made, and the one that it replaces.
NEW, OLD = "new", "old"
#: The suffix of every temporary name.
SUFFIX = ".deepmask-tmp"
#: What a temporary name adds to the final one: a random number and the machine's mark.
TEMPORARY_END = rf"\.[0-9a-f]+\.[0-9a-f]{{8}}{re.escape(SUFFIX)}"


def _machine() -> str:
    identity = os.fsencode(platform.node())  # by which containers differ
    with suppress(OSError):
        identity += Path("/etc/machine-id").read_bytes()
    return hashlib.sha256(identity).hexdigest()[:8]


_MACHINE = _machine()


@contextmanager
def atomic_write(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Yield a new file that replaces `path` when the block ends, and goes if the block raises.

    `mode` are its permissions before the umask. Raises `OSError` where it cannot be written.
    """
    temporary, file = new_file(path, mode=mode)
    try:
        yield file
        commit(file, temporary, path)
    except BaseException:
        abort(file, temporary)
        raise


def new_file(path: Path, *, mode: int = 0o666, buffering: int = -1) -> tuple[Path, IO[bytes]]:
    """Create a locked file beside `path`, to end in `commit` or `abort`; raises `OSError`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    temporary, descriptor = _create(path, lambda name: os.open(name, flags, mode))
    return temporary, os.fdopen(descriptor, "wb", buffering)


def commit(file: IO[bytes], temporary: Path, path: Path) -> None:
    """Rename a new file to `path` and close it. It stays locked until it has its name."""
    file.flush()
    if not _HAS_LOCKS:
        file.close()
    temporary.replace(path)
    file.close()


def abort(file: IO[bytes], temporary: Path) -> None:
    """Close a new file and remove it; one that was committed stays."""
    with suppress(OSError):  # what a full disk did not take
        file.close()
    with suppress(OSError):
        temporary.unlink()


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, for `NEW` and `OLD` alone; remove it when the block ends.

    Raises `OSError` where it cannot be made.
    """

    def make(name: Path) -> int:
        name.mkdir()
        with suppress(FileNotFoundError):  # it is gone already
            return os.open(name if _HAS_LOCKS else os.devnull, os.O_RDONLY)
        return os.open(os.devnull, os.O_RDONLY)

    folder, descriptor = _create(path, make)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_stale(*paths: Path) -> None:
    """Remove what killed processes of this machine left of files and folders with these names.

    Leaves what other processes are making. Does nothing where the file system has no locks.
    """
    temporary = re.compile(rf"(.+)\.[0-9a-f]+\.{_MACHINE}{re.escape(SUFFIX)}", re.DOTALL)
    for folder in {path.parent for path in paths} if _HAS_LOCKS else ():
        with suppress(OSError):
            for one in list(folder.iterdir()):
                match = temporary.fullmatch(one.name)
                if match and folder / match[1] in paths:
                    _remove_unless_held(one)


def _create(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Return a temporary name for `path`, and the locked descriptor of what `make` made there."""
    while True:
        name = path.with_name(f"{path.name}.{secrets.token_hex(8)}.{_MACHINE}{SUFFIX}")
        descriptor = make(name)
        with suppress(OSError):  # this file system has no locks
            if _HAS_LOCKS:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if name.exists():  # another's `remove_stale` may have come between making and locking
            return name, descriptor
        os.close(descriptor)


def _remove_unless_held(path: Path) -> None:
    is_folder = path.is_dir()
    flags = (os.O_RDONLY if is_folder else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK
    with suppress(OSError):
        descriptor = os.open(path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if it is held
            # A folder with anything else is a user's.
            if is_folder and {one.name for one in path.iterdir()} <= {NEW, OLD}:
                shutil.rmtree(path)
            elif stat.S_ISREG(os.fstat(descriptor).st_mode):
                path.unlink()
        finally:
            os.close(descriptor)
