"""Lend memory again and again, from one pool for each thread and kind.

Memory is handed on while the work that last used it is queued: the next use is queued behind it.
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from deepmask.runtime.engines.tensorrt.cuda import OutOfMemory

M = TypeVar("M")

#: Memory that so many rounds in a row had no use for is given back; an image has two rounds.
PATIENCE = 16


class Lease(Generic[M]):
    """Memory of at least the bytes asked for; goes back to its pool when nothing refers to this."""

    def __init__(self, memory: M, size: int) -> None:
        self.memory = memory
        self.size = size


class Pool(Generic[M]):
    """Memory of one kind for one thread; leases may end in any thread."""

    def __init__(self, allocate: Callable[[int], M], settle: Callable[[], None]) -> None:
        """`allocate` makes so many bytes; `settle` waits for queued work."""
        self._allocate = allocate
        self._settle = settle
        self._round = 0
        #: By size: the round that last used some memory, and that memory.
        self._idle: dict[int, list[tuple[int, M]]] = defaultdict(list)
        # Leases end whenever the garbage collector says so: appending is all that is safe then.
        self._returned: deque[tuple[int, M]] = deque()

    def take(self, size: int) -> Lease[M]:
        """Lend at least so many bytes; raises `OutOfMemory`."""
        self._collect()
        size = rounded(size)
        memory = self._idle[size].pop()[1] if self._idle[size] else self._new(size)
        lease = Lease(memory, size)
        weakref.finalize(lease, self._returned.append, (size, memory))
        return lease

    def next_round(self) -> None:
        """Give back what was idle for long, when all queued work is done."""
        self._collect()
        self._round += 1
        for size, idle in self._idle.items():
            self._idle[size] = [one for one in idle if self._round - one[0] <= PATIENCE]

    def trim(self) -> None:
        """Give back all memory that is not on loan."""
        self._settle()
        self._collect()
        self._idle.clear()

    def _new(self, size: int) -> M:
        try:
            return self._allocate(size)
        except OutOfMemory:
            self.trim()
        return self._allocate(size)

    def _collect(self) -> None:
        while self._returned:
            size, memory = self._returned.popleft()
            self._idle[size].append((self._round, memory))


def rounded(size: int) -> int:
    """Round a size up to a class of like sizes: at most a quarter more, or 512 bytes."""
    step = max(512, 1 << max(0, size.bit_length() - 3))
    return max(1, -(-size // step)) * step
