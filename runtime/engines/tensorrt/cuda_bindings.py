"""Offer the part of `pycuda.driver` that is used here, by NVIDIA's `cuda-bindings`.

Those come as wheels, where pycuda wants a compiler and the toolkit. Objects are given back when
they go, in the context that they were made in, as pycuda's are.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

_cu: Any = importlib.import_module("cuda.bindings.driver")


class Error(Exception):
    """A call of the driver's that failed."""


class MemoryError(Error):  # as pycuda calls it
    """Too little memory."""


def _call(name: str, *arguments: Any) -> Any:
    """Call a function of the driver's; return what it returns beside its status."""
    status, *found = getattr(_cu, name)(*arguments)
    if status != _cu.CUresult.CUDA_SUCCESS:
        kind = MemoryError if status == _cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY else Error
        raise kind(f"{name} failed: {getattr(status, 'name', status)}")
    return found[0] if len(found) == 1 else tuple(found)


def init() -> None:
    """Start CUDA."""
    _call("cuInit", 0)


def get_driver_version() -> int:
    """Return the driver's CUDA version, 12080 for 12.8."""
    return int(_call("cuDriverGetVersion"))


def mem_get_info() -> tuple[int, int]:
    """Return free and total bytes of the current GPU."""
    free, total = _call("cuMemGetInfo")
    return int(free), int(total)


class Context:
    """The primary context of a GPU."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._context = _call("cuDevicePrimaryCtxRetain", device)

    def push(self) -> None:
        _call("cuCtxPushCurrent", self._context)

    def pop(self) -> None:
        _call("cuCtxPopCurrent")

    def detach(self) -> None:
        _call("cuDevicePrimaryCtxRelease", self._device)


class Device:
    """A GPU by its number."""

    def __init__(self, index: int) -> None:
        self._device = _call("cuDeviceGet", index)

    @staticmethod
    def count() -> int:
        return int(_call("cuDeviceGetCount"))

    def name(self) -> str:
        text: bytes = _call("cuDeviceGetName", 256, self._device)
        return text.split(b"\0")[0].decode(errors="replace")

    def compute_capability(self) -> tuple[int, int]:
        named = "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{}"
        major, minor = (
            getattr(_cu.CUdevice_attribute, named.format(part)) for part in ("MAJOR", "MINOR")
        )
        get = "cuDeviceGetAttribute"
        return int(_call(get, major, self._device)), int(_call(get, minor, self._device))

    def retain_primary_context(self) -> Context:
        return Context(self._device)


class _Handle:
    """A handle that is given back by a function of the driver's when it goes."""

    _free = ""
    handle: Any = None

    def __init__(self, handle: Any) -> None:
        self._context = _call("cuCtxGetCurrent")
        self.handle = handle

    def __int__(self) -> int:
        return int(self.handle)

    def __del__(self) -> None:
        if self.handle is None:  # it was not made
            return
        # A failure has been told by another call.
        _cu.cuCtxPushCurrent(self._context)
        getattr(_cu, self._free)(self.handle)
        _cu.cuCtxPopCurrent()


class _Allocation(_Handle):
    _free = "cuMemFree"


class _HostAllocation(_Handle):
    _free = "cuMemFreeHost"


class Stream(_Handle):
    """Work in its order."""

    _free = "cuStreamDestroy"

    def __init__(self, flags: int) -> None:
        super().__init__(_call("cuStreamCreate", flags))

    def synchronize(self) -> None:
        _call("cuStreamSynchronize", self.handle)


class Event(_Handle):
    """A moment in a stream's work."""

    _free = "cuEventDestroy"

    def __init__(self) -> None:
        super().__init__(_call("cuEventCreate", 0))

    def record(self, stream: Stream) -> None:
        _call("cuEventRecord", self.handle, stream.handle)

    def query(self) -> bool:
        [status] = _cu.cuEventQuery(self.handle)
        return bool(status == _cu.CUresult.CUDA_SUCCESS)

    def time_since(self, earlier: Event) -> float:
        """Return milliseconds."""
        return float(_call("cuEventElapsedTime", earlier.handle, self.handle))


def mem_alloc(size: int) -> _Allocation:
    """Allocate bytes on the GPU."""
    return _Allocation(_call("cuMemAlloc", size))


def pagelocked_empty(size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Allocate pinned host memory for `size` values, freed with the last array that shows it."""
    count = size * np.dtype(dtype).itemsize
    held = _HostAllocation(_call("cuMemHostAlloc", count, 0))
    block: Any = (ctypes.c_ubyte * count).from_address(int(held))
    block.held = held  # numpy keeps the block, and so this
    array: npt.NDArray[Any] = np.frombuffer(block, np.uint8).view(dtype)
    return array


def memcpy_htod_async(address: int, source: npt.NDArray[Any], stream: Stream) -> None:
    """Queue a copy from pinned memory to the GPU."""
    _call("cuMemcpyHtoDAsync", address, source.ctypes.data, source.nbytes, stream.handle)


def memcpy_dtoh_async(target: npt.NDArray[Any], address: int, stream: Stream) -> None:
    """Queue a copy from the GPU to pinned memory."""
    _call("cuMemcpyDtoHAsync", target.ctypes.data, address, target.nbytes, stream.handle)
