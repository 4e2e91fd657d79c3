"""Show a progress bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from deepmask.runtime.progress import Progress, no_progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a function that shows progress on standard error; one bar for what is counted.

    It shows nothing where there is no terminal, or only one thing to do.
    """
    if not sys.stderr.isatty():
        yield no_progress
        return
    with ExitStack() as stack:
        shown: list[tuple[str, Any]] = []

        def show(counted: str, done: int, total: int) -> None:
            if total < 2:
                return
            if not shown or shown[-1][0] != counted:
                stack.close()  # the bar before
                shown.append((counted, stack.enter_context(_bar(counted, total))))
            bar = shown[-1][1]
            bar.update(max(0, done - bar.pos))
            if done == total:  # what is printed next gets a line of its own
                stack.close()
                shown.clear()

        yield show


def _bar(counted: str, total: int) -> Any:
    start = time.monotonic()

    def rate(done: int | None) -> str:
        return f"{bar.pos / max(1e-9, time.monotonic() - start):.1f}/s"

    bar = click.progressbar(
        length=total, label=counted, show_pos=True, item_show_func=rate, file=sys.stderr
    )
    return bar
