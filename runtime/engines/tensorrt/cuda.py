"""The GPU through pycuda, in the device's primary context, which torch and other libraries share.

A context is pushed for each use and popped after it, in whatever thread that is: pycuda's own
`autoinit` would bind one thread, and every other one would fail.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.distribution import pip_install
from deepmask.runtime.engines.base import DeviceError, EngineError
from deepmask.runtime.engines.tensorrt.device import Event, Gpu, Memory, OutOfMemory, Stream
from deepmask.runtime.errors import one_line

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: CU_STREAM_NON_BLOCKING: no waiting for what others, torch say, do in the default stream.
_NON_BLOCKING = 1
_INSTALL = pip_install("tensorrt")


@functools.cache
def open_device() -> CudaDevice:
    """The first GPU that CUDA shows (`CUDA_VISIBLE_DEVICES`), for the life of the process.

    Raises `DeviceError` where there is none, or no driver, or no pycuda.
    """
    try:
        ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise DeviceError("no NVIDIA driver on this machine") from error
    if importlib.util.find_spec("pycuda") is None:
        raise DeviceError(f"pycuda is not installed: {_INSTALL}")
    try:
        driver = importlib.import_module("pycuda.driver")
    except Exception as error:  # whatever a compiled module raises that does not fit
        raise DeviceError(f"pycuda cannot be loaded: {one_line(error)}; {_INSTALL}") from error
    try:
        driver.init()
        if not driver.Device.count():
            raise DeviceError("no NVIDIA GPU is visible")
        return CudaDevice(driver, 0)
    except driver.Error as error:  # a full GPU too: its context takes memory
        raise DeviceError(f"no NVIDIA GPU that works: {one_line(error)}") from error


class CudaDevice:
    """See `Device`."""

    def __init__(self, driver: Any, index: int) -> None:
        """`driver` is the module `pycuda.driver`, initialised."""
        self._driver = driver
        device = driver.Device(index)
        version = driver.get_driver_version()
        major, minor = device.compute_capability()
        self.gpu = Gpu(
            name=device.name(),
            compute_capability=(int(major), int(minor)),
            driver=f"{version // 1000}.{version % 1000 // 10}",
            memory=int(device.total_memory()),
        )
        self._context = device.retain_primary_context()

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Device.active`. CUDA's errors come out as `EngineError`."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self._driver.Error as error:
            raise EngineError(f"CUDA failed: {one_line(error)}") from error

    def free(self) -> int:
        """See `Device.free`."""
        return int(self._driver.mem_get_info()[0])

    def allocate(self, size: int) -> _Memory:
        """See `Device.allocate`."""
        try:
            return _Memory(self._context, self._driver.mem_alloc(size))
        except self._driver.MemoryError as error:
            raise OutOfMemory("GPU memory", size, self.gpu.room(self.free())) from error

    def pin(self, size: int) -> _Pinned:
        """See `Device.pin`."""
        try:
            return _Pinned(self._context, self._driver.pagelocked_empty(size, np.uint8))
        except self._driver.MemoryError as error:
            raise OutOfMemory("pinned host memory", size) from error

    def stream(self) -> _Stream:
        """See `Device.stream`."""
        return _Stream(self._context, self._driver.Stream(_NON_BLOCKING), self._driver.Event)

    def upload(self, target: Memory, source: npt.NDArray[Any], stream: Stream) -> None:
        """See `Device.upload`."""
        self._driver.memcpy_htod_async(target.address, source, _handle(stream))

    def download(self, target: npt.NDArray[Any], source: Memory, stream: Stream) -> None:
        """See `Device.download`."""
        self._driver.memcpy_dtoh_async(target, source.address, _handle(stream))


class _Owned:
    """A pycuda object that is given back, in its context, when nothing refers to this any more.

    Also at interpreter exit, and in any thread: pycuda's own destructors warn and leak in a thread
    other than the one that made the object, unless its context is pushed there.
    """

    def __init__(self, context: Any, handle: Any) -> None:
        # Held in a list, so that the finaliser can drop the last reference.
        self._held = [handle]
        weakref.finalize(self, _give_back, context, self._held)


class _Memory(_Owned):
    def __init__(self, context: Any, allocation: Any) -> None:
        super().__init__(context, allocation)
        self.address = int(allocation)


class _Pinned(_Owned):
    @property
    def array(self) -> npt.NDArray[np.uint8]:
        array: npt.NDArray[np.uint8] = self._held[0]
        return array


class _Event(_Owned):
    def done(self) -> bool:
        return bool(self._held[0].query())

    def since(self, earlier: Event) -> float:
        return float(self._held[0].time_since(_handle(earlier))) / 1e3


class _Stream(_Owned):
    def __init__(self, context: Any, stream: Any, event: Any) -> None:
        super().__init__(context, stream)
        self.handle = int(stream.handle)
        self._context, self._event = context, event

    def record(self) -> _Event:
        event = self._event()
        event.record(self._held[0])
        return _Event(self._context, event)

    def synchronize(self) -> None:
        self._held[0].synchronize()


def _give_back(context: Any, held: list[Any]) -> None:
    # After an error that CUDA cannot recover from, giving back fails too, and has been told.
    with suppress(Exception):
        context.push()
        try:
            held.clear()
        finally:
            context.pop()


def _handle(owned: Any) -> Any:
    """The pycuda object of one of the classes above."""
    return owned._held[0]
