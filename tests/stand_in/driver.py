"""The stand-in driver as tests see it, and as TensorRT's stand-in uses it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.runtime.fake_gpu import Array
from tests.runtime.fake_tensorrt import Places, size_of

_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
INVALID_VALUE, OUT_OF_MEMORY, ILLEGAL_ADDRESS = 1, 2, 700


class StandIn:
    """The driver that this process loaded; `errors` are those of work done for TensorRT."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self.errors: list[BaseException] = []
        self.enqueued = 0
        self._callbacks: dict[int, tuple[Any, list[bool]]] = {}
        kinds: dict[str, tuple[list[Any], Any]] = {
            "queue": ([ctypes.c_void_p, _WORK, ctypes.c_void_p], ctypes.c_int),
            "block": ([ctypes.c_size_t, ctypes.c_size_t], ctypes.c_long),
            "alive": ([ctypes.c_long], ctypes.c_int),
            "runs_on": ([ctypes.c_void_p], ctypes.c_int),
            "depth": ([], ctypes.c_int),
            "count": ([ctypes.c_char_p], ctypes.c_long),
            "calls": ([], ctypes.c_long),
            "held": ([ctypes.c_int], ctypes.c_long),
            "most": ([], ctypes.c_long),
            "violations": ([], ctypes.c_long),
            "capacity": ([ctypes.c_long], None),
            "fail": ([ctypes.c_long, ctypes.c_long], None),
        }
        for name, (arguments, result) in kinds.items():
            function = getattr(self._driver, f"stand_in_{name}")
            function.argtypes, function.restype = arguments, result

    def count(self, function: str) -> int:
        """Return how often a function of the driver was called, by its name without version."""
        return int(self._driver.stand_in_count(function.encode()))

    @property
    def calls(self) -> int:
        return int(self._driver.stand_in_calls())

    @property
    def held(self) -> tuple[int, int, int, int]:
        """Bytes of the GPU's memory and of pinned memory, streams, events."""
        bytes_, pinned, streams, events = (self._driver.stand_in_held(kind) for kind in range(4))
        return bytes_, pinned, streams, events

    @property
    def violations(self) -> int:
        return int(self._driver.stand_in_violations())

    @contextmanager
    def capacity(self, size: int) -> Iterator[None]:
        """Make the GPU's memory so large."""
        self._driver.stand_in_capacity(size)
        try:
            yield
        finally:
            self._driver.stand_in_capacity(16 << 30)

    @contextmanager
    def failing(self, call: int, error: int) -> Iterator[None]:
        """Let the call that comes so many calls from now fail; all after it if the context dies."""
        self._driver.stand_in_fail(call, error)
        try:
            yield
        finally:
            self._driver.stand_in_fail(0, 0)

    # What TensorRT's stand-in asks of a GPU.

    def note(self, kind: str) -> None:
        assert self._driver.stand_in_depth() > 0, f"{kind} without a context"
        self.enqueued += kind == "run"

    def has_stream(self, handle: int) -> bool:
        return bool(self._driver.stand_in_runs_on(handle))

    def holds(self, address: int, size: int) -> bool:
        return bool(self._driver.stand_in_block(address, size))

    def read(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return self._at(address, size_of(dtype, shape)).view(dtype).reshape(shape).copy()

    def write(self, address: int, source: Array) -> None:
        content = np.ascontiguousarray(source).reshape(-1).view(np.uint8)
        self._at(address, content.nbytes)[:] = content

    def queue(self, handle: int, work: Callable[[], None], places: Places) -> None:
        blocks = [self._driver.stand_in_block(address, max(1, size)) for address, size in places]
        assert all(blocks), "TensorRT is given memory that is not held"
        done = [False]

        def checked(_: object) -> None:
            try:
                alive = [self._driver.stand_in_alive(block) for block in blocks]
                assert all(alive), "memory was freed before TensorRT's work was done"
                work()
            except BaseException as error:
                self.errors.append(error)
            finally:
                done[0] = True

        # A callback must live until it is done, and is not to go while it runs.
        for key in [key for key, (_, over) in self._callbacks.items() if over[0]]:
            self._callbacks.pop(key, None)
        callback = _WORK(checked)
        self._callbacks[id(callback)] = (callback, done)
        assert self._driver.stand_in_queue(handle, callback, None) == 0

    def _at(self, address: int, size: int) -> Array:
        assert self.holds(address, max(1, size)), "memory that is not held"
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
