"""Report the progress of long work."""

from __future__ import annotations

from collections.abc import Callable

#: Called with what is counted, how many are done and how many there are: "images", 3, 10.
Progress = Callable[[str, int, int], None]


def no_progress(counted: str, done: int, total: int) -> None:
    """Show nothing."""
