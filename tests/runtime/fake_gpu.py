"""A GPU that is not there: it holds real bytes, does its work late, and notes what was asked of it.

Queued work is done when the stream is waited for and not before. So whoever overwrites memory that
a queued copy or run still needs gets wrong results here, as on a GPU that is busy.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.tensorrt import cuda
from deepmask.runtime.engines.tensorrt.cuda import Device, Event, Gpu, Memory, Pinned, Stream

Array = npt.NDArray[Any]

FAKE = Gpu("Fake GPU", "8.9", "12.8")
#: What freshly allocated and freed bytes hold: as float32 it is not a number.
GARBAGE = 0xFF


class FakeMemory(Memory):
    """Bytes with an address; the device forgets them when nothing refers to this any more."""

    def __init__(self, device: FakeDevice, address: int, size: int) -> None:
        self.address = address
        device.memory[address] = np.full(size, GARBAGE, np.uint8)
        weakref.finalize(self, device.give_back, address)


class FakePinned(Pinned):
    def __init__(self, device: FakeDevice, address: int, size: int) -> None:
        self._held = [np.full(size, GARBAGE, np.uint8)]
        device.pinned[address] = weakref.ref(self.array)
        weakref.finalize(self, device.pinned.pop, address)


class FakeEvent(Event):
    """A moment: the number of queued pieces of work that the stream had done by then."""

    def __init__(self) -> None:
        self.time: int | None = None

    def done(self) -> bool:
        return self.time is not None

    def since(self, earlier: Event) -> float:
        assert isinstance(earlier, FakeEvent)
        assert self.time is not None
        assert earlier.time is not None, "the moment has not passed: CUDA would refuse"
        return float(self.time - earlier.time)


class FakeStream(Stream):
    def __init__(self, device: FakeDevice, handle: int) -> None:
        self.handle = handle
        self.queue: list[Callable[[], None]] = []
        self.time = 0
        self._device = device

    def record(self) -> FakeEvent:
        self._device.note("event")
        event = FakeEvent()
        self.queue.append(lambda: setattr(event, "time", self.time))
        return event

    def add(self, work: Callable[[], None]) -> None:
        def timed() -> None:
            work()
            self.time += 1

        self.queue.append(timed)

    def synchronize(self) -> None:
        self._device.note("synchronize")
        queue, self.queue = self.queue, []
        for work in queue:
            work()


class FakeDevice(Device):
    """`calls` counts what was asked for, `sizes` sums the bytes of it."""

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.gpu = FAKE
        self.capacity = capacity
        self.calls: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.memory: dict[int, Array] = {}
        self.pinned: dict[int, weakref.ref[Array]] = {}
        self.streams: weakref.WeakValueDictionary[int, FakeStream] = weakref.WeakValueDictionary()
        self.most = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._local = threading.local()

    def reset(self) -> None:
        """Count from here."""
        self.calls.clear()
        self.sizes.clear()

    @property
    def live(self) -> int:
        """Bytes that are allocated on the device."""
        return sum(len(content) for content in list(self.memory.values()))

    @property
    def pinned_bytes(self) -> int:
        blocks = [ref() for ref in list(self.pinned.values())]
        return sum(block.nbytes for block in blocks if block is not None)

    def note(self, kind: str, size: int = 0) -> None:
        """Count a call, which the calling thread must have made with the device active."""
        assert getattr(self._local, "depth", 0) > 0, f"{kind} without an active device"
        with self._lock:
            self.calls[kind] += 1
            self.sizes[kind] += size

    def give_back(self, address: int) -> None:
        self.memory.pop(address)

    @contextmanager
    def active(self) -> Iterator[None]:
        self._local.depth = getattr(self._local, "depth", 0) + 1
        try:
            yield
        finally:
            self._local.depth -= 1

    def free(self) -> int:
        return self.capacity - self.live

    def allocate(self, size: int) -> FakeMemory:
        if size > self.free():
            raise cuda.OutOfMemory(
                "GPU memory", size, f", {self.free()} are free on {self.gpu.name}"
            )
        self.note("allocate", size)
        memory = FakeMemory(self, next(self._numbers) << 32, size)
        self.most = max(self.most, self.live)
        return memory

    def pin(self, size: int) -> FakePinned:
        self.note("pin", size)
        return FakePinned(self, next(self._numbers) << 32, size)

    def stream(self) -> FakeStream:
        self.note("stream")
        stream = FakeStream(self, next(self._numbers))
        self.streams[stream.handle] = stream
        return stream

    def upload(self, target: Memory, source: Array, stream: Stream) -> None:
        assert isinstance(stream, FakeStream)
        self._check_pinned(source)
        self.note("upload", source.nbytes)
        address = target.address
        stream.add(lambda: self._write(address, source))

    def download(self, target: Array, source: Memory, stream: Stream) -> None:
        assert isinstance(stream, FakeStream)
        self._check_pinned(target)
        self.note("download", target.nbytes)
        address = source.address
        stream.add(lambda: np.copyto(target, self.read(address, target.shape, target.dtype)))

    def read(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """A copy of what is at an address: KeyError after it was freed."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        found: Array = self.memory[address][:size].copy().view(dtype).reshape(shape)
        return found

    def holds(self, address: int, size: int) -> bool:
        return address in self.memory and size <= len(self.memory[address])

    def has_stream(self, handle: int) -> bool:
        return handle in self.streams

    def queue(self, handle: int, work: Callable[[], None], places: object) -> None:
        """Do work when the stream gets there; memory that has gone by then is an error."""
        self.streams[handle].add(work)

    def _write(self, address: int, source: Array) -> None:
        self.memory[address][: source.nbytes] = source.reshape(-1).view(np.uint8)

    def write(self, address: int, source: Array) -> None:
        """Put an array at an address, which must be allocated and large enough."""
        assert source.nbytes <= len(self.memory[address])
        self._write(address, np.ascontiguousarray(source))

    def _check_pinned(self, array: Array) -> None:
        assert array.flags.c_contiguous
        blocks = [ref() for ref in list(self.pinned.values())]
        assert any(block is not None and np.shares_memory(array, block) for block in blocks)
