"""How far a build has come, shown on a terminal, and Ctrl-C while it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import click

_STEPS = 1000


class Phases:
    """The share of a build that is done, from the phases that TensorRT opens inside each other."""

    def __init__(self) -> None:
        """Nothing begun."""
        self._open: dict[str, tuple[int, int]] = {}  # name → steps done, steps in all

    def start(self, name: str, steps: int) -> None:
        """A phase begins, inside those that are open."""
        self._open[name] = (0, max(1, steps))

    def step(self, name: str, index: int) -> None:
        """Step `index` of a phase is done."""
        if name in self._open:
            steps = self._open[name][1]
            self._open[name] = (min(index + 1, steps), steps)

    def finish(self, name: str) -> None:
        """A phase ends."""
        self._open.pop(name, None)

    @property
    def done(self) -> float:
        """0 … 1. A phase counts as one step of the phase around it."""
        share, size = 0.0, 1.0
        for done, steps in self._open.values():
            share += size * done / steps
            size /= steps
        return min(1.0, share)


@contextmanager
def monitored(trt: ModuleType, config: Any, label: str) -> Iterator[None]:
    """Show the progress of a build with `config`, if on a terminal; Ctrl-C ends the build.

    TensorRT may call back from several threads. No exception must cross it: Ctrl-C that comes in a
    callback is kept, the build is told to stop, and `KeyboardInterrupt` is raised at the end of the
    block; a bar that cannot be drawn any more is not worth a build.
    """
    with _bar(label) as show:
        monitor = _monitor(trt, Phases(), show)
        config.progress_monitor = monitor
        try:
            yield
        finally:
            config.progress_monitor = None
            if monitor.interrupted:
                raise KeyboardInterrupt
        show(1)


@contextmanager
def _bar(label: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error, if that is a terminal: what sets it to 0 … 1."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with click.progressbar(length=_STEPS, label=label, file=sys.stderr) as bar:
        yield lambda done: bar.update(max(0, int(done * _STEPS) - bar.pos))


def _monitor(trt: ModuleType, phases: Phases, show: Callable[[float], None]) -> Any:
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.interrupted = False
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._watch(phases.start, phase_name, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self._watch(phases.finish, phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._watch(phases.step, phase_name, step)
            return not self.interrupted

        def _watch(self, change: Any, *values: Any) -> None:
            try:
                with self._lock:
                    change(*values)
                    show(phases.done)
            except KeyboardInterrupt:
                self.interrupted = True
            except Exception:  # the terminal went away, say
                return

    return Monitor()
