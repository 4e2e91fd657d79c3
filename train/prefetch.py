"""Batches made ahead of time by threads, handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from deepmask.networks.family import Batch

BatchType = TypeVar("BatchType", bound=Batch)


def prefetch(
    make: Callable[[int], BatchType], steps: range, threads: int, ahead: int
) -> Iterator[BatchType]:
    """Yield `make(step)` for each step in order, up to `ahead` batches made in advance."""
    with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
        waiting: deque[Future[BatchType]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
