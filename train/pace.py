"""Tell how far training is: soon after it begins, and then now and then."""

from __future__ import annotations

import math
import time

from deepmask.runtime.progress import PAUSE, duration


class Pace:
    """The pace of training from `step` to `steps`, from now on."""

    def __init__(self, step: int, steps: int) -> None:
        self._first, self._steps = step, steps
        self._start = time.monotonic()
        self._told = -math.inf

    def line(self, step: int) -> str:
        """Return how far it is at `step`, its rate and the time left; "" if that was told lately.

        The first step is always told.
        """
        now = time.monotonic()
        if now - self._told < PAUSE:
            return ""
        self._told = now
        passed, done = max(now - self._start, 1e-9), step - self._first
        left = passed / max(done, 1) * (self._steps - step)
        return (
            f"step {step}/{self._steps}  {passed:.0f} s, {done / passed:.2g} steps per second, "
            f"{duration(left)} left"
        )

    def told(self) -> None:
        """Note that another line was told just now."""
        self._told = time.monotonic()
