"""NVIDIA's cuda-bindings in pycuda's place: the same device, on a driver that is not there."""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt import cuda
from deepmask.runtime.engines.tensorrt.cuda import Device, OutOfMemory

NAME = "deepmask.runtime.engines.tensorrt.cuda_bindings"
CUresult = IntEnum(
    "CUresult", {"CUDA_SUCCESS": 0, "CUDA_ERROR_OUT_OF_MEMORY": 2, "CUDA_ERROR_NOT_READY": 600}
)
Attribute = IntEnum(
    "Attribute",
    [
        ("CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR", 0),
        ("CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR", 1),
    ],
)


class Driver(ModuleType):
    """`cuda.bindings.driver`: a status, and with it what is asked for. Memory is the host's."""

    def __init__(self) -> None:
        super().__init__("cuda.bindings.driver")
        self.CUresult, self.CUdevice_attribute = CUresult, Attribute
        self.live: dict[int, Any] = {}
        self.calls: Counter[str] = Counter()
        self.numbers = itertools.count(1)
        self.pushed = 0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        known: dict[str, Callable[..., Any]] = {
            "cuDriverGetVersion": lambda: 12080,
            "cuDeviceGetCount": lambda: 1,
            "cuDeviceGet": lambda index: index,
            "cuDeviceGetName": lambda length, _: b"NVIDIA L4".ljust(length, b"\0"),
            "cuDeviceGetAttribute": lambda which, _: (8, 9)[which],
            "cuDevicePrimaryCtxRetain": lambda _: "context",
            "cuCtxGetCurrent": lambda: "context",
            "cuMemGetInfo": lambda: (1 << 29, 24 << 30),
            "cuMemAlloc": self.allocate,
            "cuMemHostAlloc": lambda size, flags: self.allocate(size),
            "cuStreamCreate": lambda flags: next(self.numbers),
            "cuEventCreate": lambda flags: next(self.numbers),
            "cuEventElapsedTime": lambda start, end: 250.0 * (end - start),
            "cuMemcpyHtoDAsync": lambda to, start, size, _: self.copy(to, start, size),
            "cuMemcpyDtoHAsync": lambda to, start, size, _: self.copy(to, start, size),
            "cuMemFree": self.free,
            "cuMemFreeHost": self.free,
        }
        found: Callable[..., Any] = known.get(name, lambda *_: None)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls[name] += 1
            self.pushed += {"cuCtxPushCurrent": 1, "cuCtxPopCurrent": -1}.get(name, 0)
            made = found(*arguments)
            if isinstance(made, CUresult):
                return (made, None) if name.endswith("Alloc") else (made,)
            several = made if isinstance(made, tuple) else () if made is None else (made,)
            return (CUresult.CUDA_SUCCESS, *several)

        return call

    def allocate(self, size: int) -> Any:
        assert self.pushed > 0
        if size > 1 << 30:
            return CUresult.CUDA_ERROR_OUT_OF_MEMORY
        block = (ctypes.c_ubyte * size)()
        self.live[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, address: int) -> None:
        assert self.pushed > 0
        del self.live[address]

    def copy(self, to: int, start: int, size: int) -> CUresult:
        ctypes.memmove(to, start, size)
        return CUresult.CUDA_SUCCESS


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    driver, found = Driver(), importlib.util.find_spec
    for name, module in (("cuda", ModuleType("cuda")), ("cuda.bindings", ModuleType("bindings"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", driver)
    monkeypatch.delitem(sys.modules, NAME, raising=False)

    def spec(name: str) -> Any:
        if name == "pycuda":
            return None
        return driver if name.startswith("cuda") else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", spec)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(cuda, "_opened", cuda._opened.__wrapped__)
    monkeypatch.setattr(cuda, "_STARTED_IN", [])
    yield driver
    sys.modules.pop(NAME, None)


@pytest.fixture
def device(driver: Driver) -> Device:
    return cuda.open_device()


def test_it_serves_where_pycuda_is_not_installed(device: Device, driver: Driver) -> None:
    assert device.gpu == cuda.Gpu("NVIDIA L4", "8.9", "12.8")
    with device.active():
        assert driver.pushed == 1
        assert device.free() == 1 << 29
        there, pinned, back, stream = (
            device.allocate(40),
            device.pin(40),
            device.pin(40),
            device.stream(),
        )
        pinned.array[:] = np.arange(40)
        before = stream.record()
        device.upload(there, pinned.array, stream)
        device.download(back.array, there, stream)
        after = stream.record()
        stream.synchronize()
        assert after.done()
        assert after.since(before) == 0.25
    assert driver.pushed == 0
    assert back.array.tolist() == list(range(40))
    assert len(driver.live) == 3
    assert driver.calls["cuStreamSynchronize"] == 1


def test_all_is_given_back(device: Device, driver: Driver) -> None:
    with device.active():
        held: list[Any] = [device.allocate(4), device.pin(4), device.stream()]
        held.append(held[-1].record())
    held.clear()
    gc.collect()
    assert driver.live == {}
    assert driver.calls["cuStreamDestroy"] == driver.calls["cuEventDestroy"] == 1
    assert driver.calls["cuDevicePrimaryCtxRelease"] == 0


def test_the_context_is_given_back_last(driver: Driver) -> None:
    opened = cuda.open_device()
    del opened
    gc.collect()
    assert driver.calls["cuDevicePrimaryCtxRelease"] == 1
    assert driver.pushed == 0


def test_failures_are_one_line(
    device: Device, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with device.active(), pytest.raises(OutOfMemory, match=r"out of GPU memory: 2048\.0 MiB more"):
        device.allocate(2 << 30)
    monkeypatch.setattr(driver, "copy", lambda *_: CUresult.CUDA_ERROR_NOT_READY)
    expected = "^CUDA failed: cuMemcpyHtoDAsync failed: CUDA_ERROR_NOT_READY$"
    with pytest.raises(EngineError, match=expected), device.active():
        device.upload(device.allocate(4), device.pin(4).array, device.stream())


def test_what_was_not_made_is_not_given_back(
    device: Device, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    driver.numbers = itertools.repeat(CUresult.CUDA_ERROR_NOT_READY)  # type: ignore[assignment]
    with pytest.raises(EngineError, match="cuStreamCreate failed"), device.active():
        device.stream()
    gc.collect()
    assert told == []
    assert driver.calls["cuStreamDestroy"] == 0
