"""Tell how far a build has come, and let Ctrl-C end it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from deepmask.runtime.progress import Progress


def share_done(phases: Mapping[str, tuple[int, int]]) -> float:
    """Return 0 … 1 for phases inside each other, outermost first: steps done, and steps in all.

    A phase counts as one step of the phase around it.
    """
    share, size = 0.0, 1.0
    for done, steps in phases.values():
        share += size * done / steps
        size /= steps
    return min(1.0, share)


@contextmanager
def monitored(trt: ModuleType, config: Any, label: str, progress: Progress) -> Iterator[None]:
    """Tell `progress` how many hundredths of a build with `config` are done; Ctrl-C ends it.

    TensorRT may call back from several threads, and no exception must cross it: Ctrl-C that comes
    in a callback is kept, the build is told to stop, and `KeyboardInterrupt` is raised at the end.
    """
    monitor = _monitor(trt, lambda share: progress(label, int(share * 100), 100))
    config.progress_monitor = monitor
    try:
        yield
    finally:
        config.progress_monitor = None
        if monitor.interrupted:
            raise KeyboardInterrupt
    progress(label, 100, 100)


def _monitor(trt: ModuleType, show: Callable[[float], None]) -> Any:
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.interrupted = False
            self._furthest = 0.0
            self._phases: dict[str, tuple[int, int]] = {}
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._note(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase := self._phases.get(phase_name):
                self._note(phase_name, step + 1, phase[1])
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

        def _note(self, name: str, done: int, steps: int) -> None:
            try:
                with self._lock:
                    self._phases[name] = (min(done, steps), max(1, steps))
                    # A phase that ends gives its share back for a moment.
                    self._furthest = max(self._furthest, min(0.99, share_done(self._phases)))
                    show(self._furthest)
            except KeyboardInterrupt:
                self.interrupted = True
            except Exception:  # the terminal went away: no reason to lose a build
                return

    return Monitor()
