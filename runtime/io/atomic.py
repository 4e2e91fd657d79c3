"""Files and folders that appear whole or not at all: made under a temporary name, then renamed.

The process that makes one holds a lock on it, which the system releases however the process ends.
So `sweep` tells what killed processes left from what others are at work on. Machines that share a
folder may not see each other's locks, so each sweeps only what has its own mark.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where nothing is swept, and no open file is renamed or removed
    fcntl = None  # type: ignore[assignment]

_HAS_LOCKS: bool = fcntl is not None

#: What is in a folder from `workplace`: the thing being made, and the one whose place it takes.
NEW, OLD = "new", "old"
#: The suffix of every temporary name.
SUFFIX = ".deepmask-tmp"
#: What follows the final name in a temporary one: a number that no other has, and a machine's mark.
TEMPORARY_END = rf"\.\d+\.[0-9a-f]{{8}}{re.escape(SUFFIX)}"
#: How many temporary names are tried, and how many of them may be lost to sweeps.
_NAMES, _LOST = 1000, 10


def _machine() -> str:
    """This machine's mark, of its host name and, where it has one, the id of its installation.

    A container that has a host name of its own is another machine: its leftovers stay, too.
    """
    identity = os.fsencode(platform.node())
    with suppress(OSError):
        identity += Path("/etc/machine-id").read_bytes()
    return hashlib.sha256(identity).hexdigest()[:8]


_MACHINE = _machine()


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
    """A temporary name for `path`, and the new file there, locked; for `publish` or `discard`.

    Raises `OSError` where it cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    temporary, descriptor = _claim(path, lambda name: os.open(name, flags, mode))
    return temporary, os.fdopen(descriptor, "wb", buffering)


def publish(file: IO[bytes], temporary: Path, path: Path) -> None:
    """Give a new file its name, and close it; the lock is held until then."""
    file.flush()
    if not _HAS_LOCKS:
        file.close()
    temporary.replace(path)
    file.close()


def discard(file: IO[bytes], temporary: Path) -> None:
    """Close a new file, and remove it if it still has its temporary name.

    Once published it has not, and another's new file may have it.
    """
    # Without locks files are closed before they are renamed, and on Windows open ones stay.
    ours = not _HAS_LOCKS or (not file.closed and _is_at(file.fileno(), temporary))
    with suppress(OSError):  # what a full disk did not take
        file.close()
    if ours:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def workplace(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, to make it in; removed when the block ends, with what is left.

    It is to hold nothing but `NEW` and `OLD`: no other folder is swept, whatever its name.
    Raises `OSError` where it cannot be made.
    """
    folder, descriptor = _new_folder(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(*paths: Path) -> None:
    """Remove what killed processes left of files and folders that were to have these names.

    What another process is making stays, and so does what other machines left; where the file
    system has no locks, everything does.
    """
    temporary = re.compile(rf"(.+)\.\d+\.{_MACHINE}{re.escape(SUFFIX)}", re.DOTALL)
    for folder in {path.parent for path in paths} if _HAS_LOCKS else ():
        names = {path.name for path in paths if path.parent == folder}
        with suppress(OSError):
            for one in list(folder.iterdir()):
                match = temporary.fullmatch(one.name)
                if match and match[1] in names:
                    _remove_unless_held(one)


def _new_folder(path: Path) -> tuple[Path, int | None]:
    """A new folder, locked, and its descriptor where there are locks."""
    if not _HAS_LOCKS:
        for folder in _names(path):
            with suppress(FileExistsError):
                folder.mkdir()
                return folder, None
        raise _no_name(path)

    def make(folder: Path) -> int | None:
        folder.mkdir()
        with suppress(FileNotFoundError):  # a sweep may have come between
            return os.open(folder, os.O_RDONLY)
        return None

    return _claim(path, make)


def _claim(path: Path, make: Callable[[Path], int | None]) -> tuple[Path, int]:
    """A temporary name for `path`, and what `make` made there: open, locked, and still there."""
    lost = 0
    for name in _names(path):
        try:
            descriptor = make(name)
        except FileExistsError:
            continue
        if descriptor is not None:
            held = _lock(descriptor)
            # Without locks nothing is swept. With them a sweep may have come between.
            if held is None or (held and _is_at(descriptor, name)):
                return name, descriptor
            os.close(descriptor)
        lost += 1
        if lost == _LOST:
            break
    raise _no_name(path)


def _names(path: Path) -> Iterator[Path]:
    """Temporary names, this process's number first: those in use show whose they are."""
    numbers = range(os.getpid(), os.getpid() + _NAMES)
    return (path.with_name(f"{path.name}.{number}.{_MACHINE}{SUFFIX}") for number in numbers)


def _no_name(path: Path) -> OSError:
    return FileExistsError(errno.EEXIST, "no temporary name beside it could be had", str(path))


def _remove_unless_held(path: Path) -> None:
    with suppress(OSError):
        kind = path.lstat().st_mode
        if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
            return
        flags = os.O_RDONLY if stat.S_ISDIR(kind) else os.O_RDWR
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not _lock(descriptor) or not _is_at(descriptor, path):
                return
            if not stat.S_ISDIR(kind):
                path.unlink()
            elif {one.name for one in path.iterdir()} <= {NEW, OLD}:
                shutil.rmtree(path)
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
    except OSError:
        return False
