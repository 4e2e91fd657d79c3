"""Tell how far long work is, and what a user should know of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

#: Takes what work says of itself unless a caller does: shown, kept or dropped by Python's logging.
LOGGER = logging.getLogger("deepmask")

#: Seconds between two lines of progress where there is no terminal.
PAUSE = 10.0

#: Called with what is counted, how many are done and how many there are: "images", 3, 10.
Progress = Callable[[str, int, int], None]


def no_progress(counted: str, done: int, total: int) -> None:
    """Show nothing."""


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
