"""Errors that a user sees: one line of text that cannot steer a terminal."""

from __future__ import annotations


class OneLineError(Exception):
    """An error whose text is one printable line, whatever names an input file gave."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


def printable(text: str) -> str:
    """Return `text` with every character that does not print, line ends included, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(said: object) -> str:
    """Return a library's message as at most 300 characters of one line; its type if it is empty."""
    return printable(" ".join(str(said).split())[:300]) or type(said).__name__
