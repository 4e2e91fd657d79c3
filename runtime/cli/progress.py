"""Show progress: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from deepmask.runtime.cli.messages import is_quiet, say_aside
from deepmask.runtime.errors import counted
from deepmask.runtime.progress import PAUSE, Progress, duration, no_progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a function that shows progress on standard error; one bar for what is counted.

    Where there is no terminal, it prints a line every ten seconds. It shows nothing of a single
    thing to do, or if the command is to be quiet.
    """
    if is_quiet():
        yield no_progress
        return
    if not sys.stderr.isatty():
        rates: dict[str, Rate] = {}

        def tell(things: str, done: int, total: int) -> None:
            if total > 1:
                rates.setdefault(things, Rate(things)).now_and_then(done, total)
            if done == total:  # the same things may be counted again
                rates.pop(things, None)

        yield tell
        return
    with ExitStack() as stack:
        shown: list[tuple[str, Any]] = []

        def show(things: str, done: int, total: int) -> None:
            if total < 2:
                return
            if not shown or shown[-1][0] != things:
                stack.close()  # the bar before
                shown.append((things, stack.enter_context(_bar(things, total))))
            bar = shown[-1][1]
            bar.update(max(0, done - bar.pos))
            if done == total:  # what is printed next gets a line of its own
                stack.close()
                shown.clear()

        yield show


class Rate:
    """Tell how fast things are done, from now on; `things` are what is counted."""

    def __init__(self, things: str) -> None:
        self._things = things
        self._start = self._told = time.monotonic()

    def line(self, done: int) -> str:
        """Return how many are done, the time that took and how many come in a second."""
        return f"{counted(done, self._things)} {self._pace(done, self._things)}"

    def now_and_then(self, done: int, total: int = 0) -> None:
        """Print to standard error how far it is, if ten seconds have passed since the last time."""
        now = time.monotonic()
        if now - self._told < PAUSE:
            return
        self._told = now
        if not total:
            say_aside(self.line(done))
            return
        left = (now - self._start) * (total - done) / max(1, done)
        pace = self._pace(done)
        say_aside(f"{self._things}: {done} of {total} {pace}, {duration(left)} left")

    def _pace(self, done: int, things: str = "") -> str:
        passed = max(time.monotonic() - self._start, 1e-9)
        return " ".join(f"in {passed:.1f} s, {done / passed:.2f} {things} per second".split())


def _bar(things: str, total: int) -> Any:
    start = time.monotonic()

    def rate(done: int | None) -> str:
        return f"{bar.pos / max(1e-9, time.monotonic() - start):.1f}/s"

    bar = click.progressbar(
        length=total, label=things, show_pos=True, item_show_func=rate, file=sys.stderr
    )
    return bar
