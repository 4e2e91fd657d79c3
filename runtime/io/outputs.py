"""Check what is to be written before any work, so that nothing of the user's is lost."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from deepmask.runtime.distribution import NAME
from deepmask.runtime.errors import OneLineError, UsageError, advice
from deepmask.runtime.io.atomic import abort, new_file
from deepmask.runtime.io.written import Written


class RefusedError(UsageError):
    """An output that would replace what must stay."""


class UnwritableError(OneLineError):
    """An output that cannot be written."""


class MisplacedError(UnwritableError, UsageError):
    """An output whose path leads through a file, as if that were a folder."""


def require_writable(
    outputs: Mapping[str, Iterable[Path]], inputs: Iterable[Path], force: bool | None = False
) -> None:
    """Check that files can be written, without loss, before there is anything to write.

    outputs  the files that each option will write, by the option's name.
    inputs   files that are read. None is ever replaced, whatever links, spellings of a path or
             file systems that ignore case make of its name.
    force    replace files too that this project did not write, or that were changed since;
             None where the command has no --force to advise.

    Missing folders are not made, only the nearest one that is there is tried. Raises `RefusedError`
    or `UnwritableError`.
    """
    read = _identities(inputs)
    taken: dict[str, str] = {}
    tried: set[Path] = set()
    written = Written()
    for flag, paths in outputs.items():
        for path in paths:
            named = f"{flag} {path}"
            if (name := _spelled(path)) in taken:
                same = f"is the same file as {taken[name]}: give another name"
                if taken[name] == named:
                    same = "two images would get this file: run them apart, or rename one"
                raise RefusedError(f"{named}: {same}")
            taken[name] = named
            try:
                _require_replaceable(path, named, read, None if force else written, force is None)
                _try_folder(path.parent, tried)
            except OSError as error:
                raise _unwritable(named, error) from error


def require_folder(flag: str, folder: Path) -> None:
    """Raise `UnwritableError` unless files can be written in a folder, which may not be there yet.

    Use this for a folder whose content is checked apart.
    """
    try:
        _try_folder(folder, set())
    except OSError as error:
        raise _unwritable(f"{flag} {folder}", error) from error


def _unwritable(named: str, error: OSError) -> UnwritableError:
    kind = MisplacedError if isinstance(error, NotADirectoryError) else UnwritableError
    return kind(f"{named}: cannot be written ({error.strerror or error}): {advice(error)}")


def _require_replaceable(
    path: Path, named: str, read: set[object], written: Written | None, alone: bool
) -> None:
    """Raise unless a file may be written; without `written`, whatever is there.

    alone  the command has no --force.
    """
    if not os.path.lexists(path):
        return
    if not _identities([path]).isdisjoint(read):
        raise RefusedError(
            f"{named}: is an input, which is never replaced: give another name or folder"
        )
    if path.is_dir():
        raise RefusedError(f"{named}: is a folder, expected the name of a file")
    if path.exists() and not path.is_file():
        raise RefusedError(f"{named}: is a device, expected the name of a file")
    if written is not None and not _may_go(path, written):
        raise RefusedError(
            f"{named}: exists and was not made by {NAME}, or was changed since: give another name"
            + ("" if alone else ", or --force to replace it")
        )


def _may_go(path: Path, written: Written) -> bool:
    """Tell whether a file is ours, or holds nothing to lose."""
    return path.is_file() and (path.stat().st_size == 0 or written.has(path))


def _identities(paths: Iterable[Path]) -> set[object]:
    """Return what tells files apart: the file system's own number of each, and its full name."""
    found: set[object] = set()
    for path in paths:
        found.add(os.path.realpath(path))
        with suppress(OSError):
            status = path.stat()
            if status.st_ino:
                found.add((status.st_dev, status.st_ino))
    return found


def _spelled(path: Path) -> str:
    """Return a name that is equal for files that some file system would not tell apart."""
    whole = Path(os.path.realpath(path.parent), path.name)
    return unicodedata.normalize("NFC", str(whole)).casefold()


def _try_folder(folder: Path, tried: set[Path]) -> None:
    """Write a file and remove it, in the nearest folder that is there; once for each folder."""
    if folder in tried:
        return
    tried.add(folder)
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if there != folder and there in tried:
        return
    tried.add(there)
    temporary, file = new_file(there / "writable")
    abort(file, temporary)
