"""Errors that a user sees: one line of text that cannot steer a terminal."""

from __future__ import annotations

from typing import ClassVar


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
