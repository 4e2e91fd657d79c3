"""Know again the files that were written here, as long as nobody has changed them since.

A folder that results are written to has a hidden file, the record: a line for each file, with its
SHA-256 and its name. Lines are only added, each at once, so that runs at the same time keep each
other's, and a run that is cut short has those of all it wrote. A file that is not in the record, or
differs from what the record says, is taken for somebody else's.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from deepmask.runtime.distribution import NAME
from deepmask.runtime.io.atomic import atomic_write
from deepmask.runtime.io.checksum import sha256_of

#: The record's name in each folder.
RECORD = ".deepmask-written"
#: Its first line. A file of that name that begins otherwise is somebody's, and left alone.
_HEAD = (
    f'["written by {NAME}, which may replace these files as long as they are unchanged"]\n'.encode()
)


class Written:
    """What the records say of files; each record is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, set[str]]] = {}

    def has(self, path: Path) -> bool:
        """Tell whether a file is as this project wrote it; raises `OSError` if it is unreadable."""
        folder = path.parent
        if folder not in self._known:
            self._known[folder] = _read(folder / RECORD)
        known = self._known[folder].get(path.name)
        return known is not None and sha256_of(path) in known


def write_known(path: Path, content: bytes) -> None:
    """Write a file that appears whole, and remember it; raises `OSError`."""
    with atomic_write(path) as file:
        file.write(content)
        remember(path, hashlib.sha256(content).hexdigest())


def remember(path: Path, sha256: str) -> None:
    """Add to the record of its folder that a file is about to be written, with this content.

    If the record cannot be written, the file counts as somebody else's later; nothing else fails.
    """
    line = json.dumps([path.name, sha256]).encode()
    # Through no link, which a stranger's folder may hold, and without waiting for a pipe's reader.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with suppress(OSError):
        descriptor = os.open(path.with_name(RECORD), flags | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "rb+", buffering=0) as record:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return
            head = record.read(len(_HEAD))
            if not _HEAD.startswith(head):
                return
            if head and head != _HEAD:  # a full disk took no more of it
                record.truncate(0)
            # One write, between line ends: another run may begin the record too, or have been cut
            # short in a line.
            record.write((b"" if head == _HEAD else _HEAD) + b"\n" + line + b"\n")


def _read(record: Path) -> dict[str, set[str]]:
    """Return the SHA-256s of each name; nothing where there is no record, or somebody's file."""
    known: dict[str, set[str]] = {}
    with suppress(OSError):
        content = record.read_bytes() if record.is_file() else b""
        for line in content.splitlines() if content.startswith(_HEAD) else ():
            with suppress(ValueError, RecursionError):
                match json.loads(line):
                    case [str(name), str(sha256)]:
                        known.setdefault(name, set()).add(sha256)
    return known
