"""Measure how long the stages of an image take, on the host and on the engine's device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deepmask.runtime.engines.base import Engine


class StageTimer:
    """Seconds by stage: the host's by its own clock, the device's by the engine's marks."""

    def __init__(self, engine: Engine) -> None:
        """Time the calling thread's work on `engine`."""
        self._engine = engine
        self._host: list[tuple[str, float]] = []
        self._marks: list[tuple[str, Any, Any]] = []

    @contextmanager
    def host(self, name: str) -> Iterator[None]:
        """Add what the host does in the `with` to a stage, waiting for the device included."""
        start = time.perf_counter()
        yield
        self._host.append((name, time.perf_counter() - start))

    @contextmanager
    def device(self, name: str) -> Iterator[None]:
        """Add what is given to the device in the `with` to a stage."""
        start = self._engine.mark()
        yield
        self._marks.append((name, start, self._engine.mark()))

    def seconds(self) -> dict[str, float]:
        """Return the sum of each stage, once everything that was marked has been waited for."""
        spans = [(name, self._engine.seconds(start, end)) for name, start, end in self._marks]
        total: dict[str, float] = {}
        for name, span in spans + self._host:
            total[name] = total.get(name, 0.0) + span
        return total
