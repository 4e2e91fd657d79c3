"""The folder of built engines: each a plan and its stamp, written whole or not at all.

Both files are written under other names and renamed, and a plan is checked against the SHA-256 in
its stamp. A process that reads while another writes sees a damaged plan at worst; of two that write
at once, where there are no locks, the last sees to it that plan and stamp are of one build.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deepmask.runtime.engines.tensorrt.plan_metadata import (
    ANY,
    Identity,
    Stamp,
    differences,
    dumps,
    hash_of,
    read_stamp,
)
from deepmask.runtime.io.atomic import TEMPORARY_END, atomic_write, remove_stale
from deepmask.runtime.validation import ContentError

try:
    import fcntl
except ImportError:  # Windows: two processes may both build, see `keep`
    fcntl = None  # type: ignore[assignment]

PLAN, STAMP, TIMINGS, KERNELS = ".plan", ".json", ".timing", ".kernels"
_LOCK = "lock"
#: How often a pair is written, should another process write over one half of it each time.
_ATTEMPTS = 20
#: Every name that a file of the folder may have, and the temporary ones of earlier versions.
_OWN = re.compile(
    rf"[0-9a-f]{{16}}(-[0-9a-f]{{8}})?\.(plan|json|timing|kernels)({TEMPORARY_END}|\.\d+\.tmp)?"
    rf"|{_LOCK}|\.new-\w+"
)


@dataclass(frozen=True)
class Kept:
    """A plan that is good, with its stamp."""

    plan: bytes
    stamp: Stamp


def default_folder() -> Path:
    """The folder for engines among the user's caches."""
    import platformdirs

    return platformdirs.user_cache_path("deepmask", appauthor=False) / "engines"


def find(folder: Path, stem: str, identity: Identity) -> Kept | str:
    """The plan of that name if it has that identity and is whole; else why not, "" for no plan."""
    path = folder / (stem + PLAN)
    try:
        plan = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    try:
        stamp = read_stamp(path.with_suffix(STAMP))
    except FileNotFoundError:
        return f"{path} has no description beside it"
    except (ContentError, OSError) as error:
        return f"the description beside {path} cannot be used ({error})"
    if changed := differences(stamp.identity, identity):
        return "; ".join(changed)
    if hash_of(plan) != stamp.plan:
        return f"{path} was changed or cut short"
    return Kept(plan, stamp)


def keep(folder: Path, stem: str, kept: Kept) -> None:
    """Write a plan and its stamp, in place of what has their name; raises `OSError`.

    Another process may write its own in between, and the plan of one would stay with the stamp of
    the other. So whoever has written looks, and writes again until the two fit.
    """
    for _ in range(_ATTEMPTS):
        write_whole(folder / (stem + PLAN), kept.plan)
        write_whole(folder / (stem + STAMP), dumps(kept.stamp).encode())
        if _fit(folder / (stem + PLAN)):
            return
        time.sleep(random.uniform(0, 0.1))  # so that two do not keep step


def _fit(path: Path) -> bool:
    """Whether a plan is the one that the stamp beside it describes."""
    with suppress(ContentError, OSError):
        return hash_of(path.read_bytes()) == read_stamp(path.with_suffix(STAMP)).plan
    return False


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, for its owner alone, under another name and rename it; raises `OSError`."""
    with atomic_write(path, mode=0o600) as file:
        file.write(content)
    remove_stale(path)


@contextmanager
def locked(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time build; `waiting` is called if another one does.

    Builds measure kernels, so two at once on one GPU would also disturb each other. Where the file
    system or the operating system has no locks, both build. Raises `OSError` if the folder cannot
    be made or written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as file:
        if fcntl is not None:
            _lock(file.fileno(), waiting)
        yield


def files(folder: Path) -> list[Path]:
    """The files of a folder that were written here, whatever else is in it."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if _OWN.fullmatch(path.name))
    return []


def described(folder: Path) -> list[str]:
    """What each engine of a folder was built by and for."""
    texts = []
    for path in files(folder):
        if path.suffix == PLAN:
            try:
                one = read_stamp(path.with_suffix(STAMP)).identity
            except (ContentError, OSError):
                texts.append("unknown origin")
            else:
                gpu = f"compute capability {one.compute_capability}"
                gpu = gpu if one.gpu == ANY else f"{one.gpu}, {gpu}, CUDA {one.driver}"
                texts.append(
                    f"{one.flavour} {one.version} for {gpu}, {one.platform}, {one.precision}"
                )
    return texts


def size_of(folder: Path) -> int:
    """Bytes of the files that were written here. Some may go while they are counted."""
    size = 0
    for path in files(folder):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def clear(folder: Path) -> int:
    """Remove all engines; gives the number of bytes. Other files stay. Raises `OSError`."""
    size = size_of(folder)
    for path in files(folder):
        path.unlink(missing_ok=True)
    return size


def _lock(file: int, waiting: Callable[[], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # this file system has no locks
