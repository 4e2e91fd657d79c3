"""A loaded model may be used until it is closed, and only in the process that loaded it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from deepmask.runtime.engines.base import EngineError


class Lifetime:
    """Count the calls under way; end once it is asked to, after the last of them.

    In a child that `fork` made the model cannot be used: the threads of its engine stayed behind.
    """

    def __init__(self, give_back: Callable[[], None]) -> None:
        """`give_back` frees the model; it is called once, and never in a child process."""
        self._give_back = give_back
        self._process = os.getpid()
        self._lock = Lock()
        self._calls = 0
        self._ended = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Hold the model for a call; raises `EngineError` where it cannot be used."""
        if os.getpid() != self._process:
            raise EngineError(
                "this model was loaded before the process was forked: load it after the fork"
            )
        with self._lock:
            if self._ended:
                raise EngineError("this model is closed: load it again")
            self._calls += 1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._calls -= 1
            last = self._ended and not self._calls
        if last:
            self._give_back()

    def end(self) -> None:
        """Let calls under way finish, refuse others; may be called twice."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._ended:
                return
            self._ended = True
            idle = self._calls == 0
        if idle:
            self._give_back()
