"""Drive a GPU through pycuda, in its primary context, which torch and other libraries share.

Where pycuda is not installed, NVIDIA's `cuda-bindings` serves in its place. The context is pushed
for each use: pycuda's `autoinit` would bind one thread and fail in others.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from deepmask.runtime.distribution import pip_install
from deepmask.runtime.engines.base import DeviceError, EngineError
from deepmask.runtime.errors import one_line

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: CU_STREAM_NON_BLOCKING: no waiting for what others, torch say, do in the default stream.
_NON_BLOCKING = 1
_INSTALL = f"{pip_install('tensorrt')}, or pip install cuda-bindings, which needs no compiler"
#: NVIDIA's number among the makers of PCI devices.
_NVIDIA = "0x10de"


@dataclass(frozen=True)
class Gpu:
    """Which GPU this is: with compute capability as in "8.9", and its driver's CUDA version."""

    name: str
    compute_capability: str
    driver: str


class OutOfMemory(EngineError):
    """Too little memory on the GPU, or of the host's that it copies from."""

    def __init__(self, of: str, needed: int, rest: str = "") -> None:
        super().__init__(
            f"out of {of}: {needed / 2**20:.1f} MiB more are needed{rest}; use a smaller "
            "--max-side or fewer --scales, or another device (--engine onnxruntime --device cpu)"
        )


class Owned:
    """A pycuda object that is given back with its context pushed, when this goes or at exit.

    In another thread than the object's, pycuda's own destructors warn and leak without it.
    """

    def __init__(self, context: Any, held: Any) -> None:
        # Held in a list, so that the finaliser can drop the last reference.
        self._held = [held]
        weakref.finalize(self, _give_back, context, self._held)


class Memory(Owned):
    """Memory on the GPU."""

    def __init__(self, context: Any, allocation: Any) -> None:
        super().__init__(context, allocation)
        self.address = int(allocation)


class Pinned(Owned):
    """Host memory that the GPU reads and writes itself, as bytes."""

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        return cast("npt.NDArray[np.uint8]", self._held[0])


class Event(Owned):
    """A moment in a stream's work."""

    def done(self) -> bool:
        """Return whether the work before it is finished, without waiting."""
        return bool(self._held[0].query())

    def since(self, earlier: Event) -> float:
        """Return the seconds between two moments that have passed, on the GPU's clock."""
        return float(self._held[0].time_since(earlier._held[0])) / 1e3


class Stream(Owned):
    """Work that the GPU does in the order it was given, while the host goes on."""

    def __init__(self, context: Any, stream: Any, event: Any) -> None:
        super().__init__(context, stream)
        self.handle = int(stream.handle)
        self._context, self._event = context, event

    def record(self) -> Event:
        """Return the moment at which the work given so far is finished."""
        event = self._event()
        event.record(self._held[0])
        return Event(self._context, event)

    def synchronize(self) -> None:
        self._held[0].synchronize()


class Device:
    """One GPU, by `pycuda.driver`. All but `gpu` is to be used within `with device.active()`."""

    def __init__(self, driver: Any, index: int) -> None:
        self._driver = driver
        device = driver.Device(index)
        version = driver.get_driver_version()
        self.gpu = Gpu(
            name=device.name(),
            compute_capability="{}.{}".format(*device.compute_capability()),
            driver=f"{version // 1000}.{version % 1000 // 10}",
        )
        self._context = device.retain_primary_context()
        # pycuda's own destructor calls the function for other contexts. Made first, this runs last.
        weakref.finalize(self, _detach, self._context)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this GPU that of the thread's CUDA calls, whose errors become `EngineError`."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self._driver.Error as error:
            raise EngineError(f"CUDA failed: {one_line(error)}") from error

    def free(self) -> int:
        """Return the bytes of GPU memory that nobody uses."""
        return int(self._driver.mem_get_info()[0])

    def allocate(self, size: int) -> Memory:
        """Allocate at least 1 byte on the GPU; raises `OutOfMemory`."""
        try:
            return Memory(self._context, self._driver.mem_alloc(size))
        except self._driver.MemoryError as error:
            free = f", {self.free() / 2**20:.1f} MiB are free on {self.gpu.name}"
            raise OutOfMemory("GPU memory", size, free) from error

    def pin(self, size: int) -> Pinned:
        """Allocate at least 1 byte of pinned host memory; raises `OutOfMemory`."""
        try:
            return Pinned(self._context, self._driver.pagelocked_empty(size, np.uint8))
        except self._driver.MemoryError as error:
            raise OutOfMemory("pinned host memory", size) from error

    def stream(self) -> Stream:
        return Stream(self._context, self._driver.Stream(_NON_BLOCKING), self._driver.Event)

    def upload(self, target: Memory, source: npt.NDArray[Any], stream: Stream) -> None:
        """Copy a contiguous array of pinned memory to the GPU, when the stream gets there."""
        self._driver.memcpy_htod_async(target.address, source, stream._held[0])

    def download(self, target: npt.NDArray[Any], source: Memory, stream: Stream) -> None:
        """Fill a contiguous array of pinned memory from the GPU, when the stream gets there."""
        self._driver.memcpy_dtoh_async(target, source.address, stream._held[0])


@functools.cache
def may_have_gpu() -> bool:
    """Return whether this machine shows a driver or, on Linux, a card of NVIDIA's."""
    with suppress(OSError):
        ctypes.CDLL(_DRIVER)
        return True
    with suppress(OSError):
        vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
        return any(path.read_text().strip() == _NVIDIA for path in vendors)
    return False


#: The process that started CUDA, for a child made by `fork` cannot use it.
_STARTED_IN: list[int] = []


def open_device(index: int = 0) -> Device:
    """Return GPU `index` of those that CUDA shows, opened once a process; raises `DeviceError`."""
    if _STARTED_IN and _STARTED_IN[0] != os.getpid():
        raise DeviceError(
            "CUDA was started before this process was forked, and does not survive that: start "
            "processes by multiprocessing's spawn, or load no model before the fork"
        )
    return _opened(index)


@functools.cache
def _opened(index: int) -> Device:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise DeviceError("no NVIDIA driver on this machine") from error
    driver = _driver()
    try:
        driver.init()
        _STARTED_IN[:] = [os.getpid()]
        count = driver.Device.count()
        if index >= count:
            seen = f"cuda:{index} is not there, CUDA shows {count} GPU{'s' * (count > 1)}"
            raise DeviceError(seen if count else "no NVIDIA GPU is visible")
        return Device(driver, index)
    except driver.Error as error:  # a full GPU too: its context takes memory
        raise DeviceError(f"no NVIDIA GPU that works: {one_line(error)}") from error


def _driver() -> Any:
    """Import pycuda, or in its place what has the same interface; raises `DeviceError`."""
    if importlib.util.find_spec("pycuda") is not None:
        name, module = "pycuda", "pycuda.driver"
    elif importlib.util.find_spec("cuda") and importlib.util.find_spec("cuda.bindings"):
        name, module = "cuda-bindings", f"{__package__}.cuda_bindings"
    else:
        raise DeviceError(f"pycuda is not installed: {_INSTALL}")
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever a compiled module raises that does not fit
        raise DeviceError(f"{name} cannot be loaded: {one_line(error)}; {_INSTALL}") from error


def _left_to_parent(held: Any) -> bool:
    """Keep an object for ever in a child made by `fork`, where CUDA takes nothing back."""
    forked = [os.getpid()] != _STARTED_IN
    if forked:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    return forked


def _detach(context: Any) -> None:
    if not _left_to_parent(context):
        context.detach()


def _give_back(context: Any, held: list[Any]) -> None:
    if _left_to_parent(held):
        return
    # After an error that CUDA cannot recover from, giving back fails too, and has been told.
    with suppress(Exception):
        context.push()
        try:
            held.clear()
        finally:
            context.pop()
