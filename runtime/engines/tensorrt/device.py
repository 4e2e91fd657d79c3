"""What the engine needs of a GPU: memory, a stream, copies and events.

`cuda.py` is the one that drives a GPU; tests put a recording one in its place.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import EngineError


@dataclass(frozen=True)
class Gpu:
    """Which GPU this is: a plan file that was built on another one is of no use here.

    compute_capability   as in (8, 9).
    driver               newest CUDA version that the driver supports, as in "12.8".
    memory               bytes in all.
    """

    name: str
    compute_capability: tuple[int, int]
    driver: str
    memory: int

    def room(self, free: int) -> str:
        """How many bytes are free, as text."""
        return f"{mib(free)} of {mib(self.memory)} are free on {self.name}"


class OutOfMemory(EngineError):
    """No room on the GPU, or in the host memory that it copies from; the text says how much."""

    def __init__(self, kind: str, needed: int, room: str = "") -> None:
        """`kind` of memory, bytes `needed`, and the `room` there is."""
        super().__init__(
            f"out of {kind}: {mib(needed)} more are needed{room and ', '}{room}; use a smaller "
            "--max-side or fewer --scales, or another device (--engine onnxruntime --device cpu)"
        )


class Memory(Protocol):
    """Memory on the GPU; given back when nothing refers to it any more."""

    address: int


class Pinned(Protocol):
    """Host memory that the GPU reads and writes itself, as bytes; given back likewise."""

    array: npt.NDArray[np.uint8]


class Event(Protocol):
    """A moment in a stream's work."""

    def done(self) -> bool:
        """Whether the work before it is finished, without waiting."""

    def since(self, earlier: Event) -> float:
        """Seconds on the GPU's clock; both moments must have passed."""


class Stream(Protocol):
    """Work that the GPU does in the order it was given, while the host goes on."""

    handle: int

    def record(self) -> Event:
        """The moment at which the work given so far is finished."""

    def synchronize(self) -> None:
        """Wait until the work given so far is finished."""


class Device(Protocol):
    """One GPU. Everything but `gpu` and `active` is to be called within `with device.active()`."""

    gpu: Gpu

    def active(self) -> AbstractContextManager[None]:
        """Make this GPU the one that CUDA calls of the calling thread mean. May be nested.

        What CUDA reports within it is raised as `EngineError`.
        """

    def free(self) -> int:
        """Bytes of GPU memory that nobody uses."""

    def allocate(self, size: int) -> Memory:
        """So many bytes on the GPU, at least 1; raises `OutOfMemory`."""

    def pin(self, size: int) -> Pinned:
        """So many bytes of pinned host memory, at least 1; raises `OutOfMemory`."""

    def stream(self) -> Stream:
        """A new stream."""

    def upload(self, target: Memory, source: npt.NDArray[Any], stream: Stream) -> None:
        """Copy a contiguous array of pinned memory to the GPU, when the stream gets there."""

    def download(self, target: npt.NDArray[Any], source: Memory, stream: Stream) -> None:
        """Fill a contiguous array of pinned memory from the GPU, when the stream gets there."""


def mib(size: int) -> str:
    """Bytes as text."""
    return f"{size / 2**20:.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**20:.1f} MiB"
