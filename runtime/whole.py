"""Files and folders that appear whole or not at all: made under a temporary name, then renamed.

The process that makes one holds a lock on it, which the system releases however the process ends.
So `sweep` tells what killed processes left from what others are at work on.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where nothing is swept, and no open file is renamed or removed
    fcntl = None  # type: ignore[assignment]

_HAS_LOCKS: bool = fcntl is not None

#: A temporary name: the final one, and a number that no other has.
_TEMPORARY = re.compile(r"(.+)\.\d+\.tmp", re.DOTALL)


@contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A new file to write, which takes the place of `path` when the block ends well.

    When the block raises, what was at `path` is still there and the new file is gone.
    mode       permissions, of which the umask takes some away.
    Raises `OSError` where it cannot be written.
    """
    temporary, file = new_file(path, mode=mode)
    try:
        yield file
        publish(file, temporary, path)
    except BaseException:
        discard(file, temporary)
        raise


def new_file(path: Path, *, mode: int = 0o666, buffering: int = -1) -> tuple[Path, IO[bytes]]:
    """A temporary name for `path`, and the new file there, locked; for `publish` or `discard`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for temporary in _names(path):
        try:
            descriptor = os.open(temporary, flags, mode)
        except FileExistsError:
            continue
        # A sweep may have come between: the name is then gone.
        if _lock(descriptor) is not False and _is_at(descriptor, temporary):
            return temporary, os.fdopen(descriptor, "wb", buffering)
        os.close(descriptor)
    raise AssertionError("numbers do not end")


def publish(file: IO[bytes], temporary: Path, path: Path) -> None:
    """Give a new file its name, and close it; the lock is held until then."""
    file.flush()
    if not _HAS_LOCKS:
        file.close()
    temporary.replace(path)
    file.close()


def discard(file: IO[bytes], temporary: Path) -> None:
    """Close a new file, and remove it if it still has its temporary name."""
    with suppress(OSError):  # what a full disk did not take
        file.close()
    temporary.unlink(missing_ok=True)


@contextmanager
def workplace(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, to make it in; removed when the block ends, with what is left."""
    folder, descriptor = _new_folder(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(*paths: Path) -> None:
    """Remove what killed processes left of files and folders that were to have these names.

    What another process is making stays; where the file system has no locks, everything does.
    """
    for folder in {path.parent for path in paths} if _HAS_LOCKS else ():
        names = {path.name for path in paths if path.parent == folder}
        with suppress(OSError):
            for one in list(folder.iterdir()):
                match = _TEMPORARY.fullmatch(one.name)
                if match and match[1] in names:
                    _remove_unless_held(one)


def _new_folder(path: Path) -> tuple[Path, int | None]:
    """A new folder, locked, and its descriptor where there are locks."""
    for folder in _names(path):
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        if not _HAS_LOCKS:
            return folder, None
        with suppress(FileNotFoundError):  # a sweep may have come between, here too
            descriptor = os.open(folder, os.O_RDONLY)
            if _lock(descriptor) is not False and _is_at(descriptor, folder):
                return folder, descriptor
            os.close(descriptor)
    raise AssertionError("numbers do not end")


def _names(path: Path) -> Iterator[Path]:
    """Temporary names, this process's number first: those in use show whose they are."""
    return (path.with_name(f"{path.name}.{number}.tmp") for number in count(os.getpid()))


def _remove_unless_held(path: Path) -> None:
    with suppress(OSError):
        kind = path.lstat().st_mode
        if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
            return
        flags = os.O_RDONLY if stat.S_ISDIR(kind) else os.O_RDWR
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _lock(descriptor) and _is_at(descriptor, path):
                shutil.rmtree(path) if stat.S_ISDIR(kind) else path.unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file or folder: False if another holds it, None where there are no locks."""
    if not _HAS_LOCKS:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
