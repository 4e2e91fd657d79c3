"""Memory that is used again: one pool for each thread and kind, no driver call for a known size.

Work of one stream is done in order, so memory may be handed on while the work that last used it is
still queued: the next use is queued behind it.
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from deepmask.runtime.tensorrt.device import OutOfMemory

M = TypeVar("M")

_SMALLEST = 512


class Lease(Generic[M]):
    """Memory on loan: it goes back to its pool when nothing refers to the lease any more."""

    def __init__(self, memory: M) -> None:
        """`memory` has at least the size that was asked for."""
        self.memory = memory


class Pool(Generic[M]):
    """Memory of one kind for one thread; leases may end in any thread.

    It never holds more than twice what was once on loan at the same time.
    """

    def __init__(self, allocate: Callable[[int], M], settle: Callable[[], None]) -> None:
        """`allocate` makes so many bytes; `settle` waits for queued work, before any is freed."""
        self._allocate = allocate
        self._settle = settle
        self._idle: dict[int, list[M]] = defaultdict(list)
        # Leases end whenever the garbage collector says so: appending is all that is safe then.
        self._returned: deque[tuple[int, M]] = deque()
        self._lent = self._most_lent = self.held = 0

    def take(self, size: int) -> Lease[M]:
        """At least so many bytes; raises `OutOfMemory`."""
        self._collect()
        size = rounded(size)
        memory = self._idle[size].pop() if self._idle.get(size) else self._new(size)
        self._lent += size
        self._most_lent = max(self._most_lent, self._lent)
        lease = Lease(memory)
        weakref.finalize(lease, self._returned.append, (size, memory))
        return lease

    def trim(self) -> None:
        """Give back all memory that is not on loan."""
        self._collect()
        if any(self._idle.values()):
            self._settle()
            self._idle.clear()
            self.held = self._lent

    def _new(self, size: int) -> M:
        if self.held + size > 2 * max(self._most_lent, self._lent + size):
            self.trim()
        try:
            memory = self._allocate(size)
        except OutOfMemory:
            self.trim()
            memory = self._allocate(size)
        self.held += size
        return memory

    def _collect(self) -> None:
        while self._returned:
            size, memory = self._returned.popleft()
            self._idle[size].append(memory)
            self._lent -= size


def rounded(size: int) -> int:
    """The size class: at most a quarter more, so that pictures of like sizes share memory."""
    step = max(_SMALLEST, 1 << max(0, size.bit_length() - 3))
    return max(1, -(-size // step)) * step
