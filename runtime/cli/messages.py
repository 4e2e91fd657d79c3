"""Print what a command says through Python's logging, so that it can be quiet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from deepmask.runtime.progress import LOGGER

_RESULT = "deepmask_result"


def say(line: str) -> None:
    """Print a line of the result to standard output."""
    LOGGER.info(line, extra={_RESULT: True})


def say_aside(line: str) -> None:
    """Print a line that is not a result to standard error."""
    LOGGER.info(line)


def warn(line: str) -> None:
    """Print a line to standard error, even if the command is to be quiet."""
    LOGGER.warning(line)


def be_quiet() -> None:
    """Print warnings only, until `printed_messages` ends."""
    LOGGER.setLevel(logging.WARNING)


def is_quiet() -> bool:
    """Return whether only warnings are printed."""
    return LOGGER.level >= logging.WARNING


@contextmanager
def printed_messages() -> Iterator[None]:
    """Print in the block what this project logs, and leave the logger as it was."""
    handler, level, propagate = _Printer(), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # a library that sets up the root logger would print lines twice
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=not hasattr(record, _RESULT))
