"""Errors that a user sees: one line of text that cannot steer a terminal."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

#: What a user can do about an error of the operating system.
_ADVICE = {
    errno.ENOENT: "check the path",
    errno.EEXIST: "something else is in the way, give another path",
    errno.EISDIR: "give the name of a file",
    errno.ENOTDIR: "a part of the path is a file, give a folder",
    errno.EACCES: "check who may read and write there, or give another path",
    errno.EPERM: "check who may read and write there, or give another path",
    errno.EROFS: "give a path that can be written",
    errno.ENOSPC: "free some space, or give another path",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


class OneLineError(Exception):
    """An error whose text is one printable line, whatever names an input file gave.

    A command that ends in it prints the line and exits with `exit_code`: 1 for work that failed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class UsageError(OneLineError):
    """What was asked for cannot be done: a wrong file, folder or value; exit code 2."""

    exit_code = 2


def printable(text: str) -> str:
    """Return `text` with every character that does not print, line ends included, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(said: object) -> str:
    """Return a library's message as at most 300 characters of one line; its type if it is empty."""
    return printable(" ".join(str(said).split())[:300]) or type(said).__name__


def counted(number: int, things: str) -> str:
    """Return a number with what it counts, as in "2 images" and "1 image"."""
    return f"{number} {things.removesuffix('s') if number == 1 else things}"


def system_problem(error: OSError) -> str:
    """Return one line for an operating system's error: the file, the reason, and what to do."""
    given = (error.filename, error.filename2)
    names = [os.fsdecode(name) for name in given if isinstance(name, str | bytes)]
    return printable(": ".join([*names, error.strerror or one_line(error), advice(error)]))


def advice(error: OSError) -> str:
    """Return what a user can do about an operating system's error."""
    return _ADVICE.get(error.errno or 0, "check the path, its permissions and the space left")
