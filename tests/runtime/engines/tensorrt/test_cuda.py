"""pycuda's objects, which are given back in their context."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deepmask.runtime.engines.base import DeviceError, EngineError
from deepmask.runtime.engines.tensorrt import cuda
from deepmask.runtime.engines.tensorrt.cuda import Device, OutOfMemory

Patch = pytest.MonkeyPatch


class Context:
    """A CUDA context as pycuda has it, which must be pushed wherever anything is done."""

    def __init__(self) -> None:
        self.local = threading.local()
        self.freed: list[str] = []
        self.detached = 0

    def detach(self) -> None:
        self.detached += 1

    @property
    def depth(self) -> int:
        return int(getattr(self.local, "depth", 0))

    def push(self) -> None:
        self.local.depth = self.depth + 1

    def pop(self) -> None:
        assert self.depth > 0
        self.local.depth = self.depth - 1


def pretend_pycuda(monkeypatch: Patch, context: Context) -> Any:
    driver: Any = ModuleType("pycuda.driver")

    class Error(Exception): ...

    class MemoryError_(Error): ...

    class Handle:
        """Warns and leaks in pycuda, if it goes while its context is not pushed."""

        def __init__(self, kind: str) -> None:
            self.kind = kind
            assert context.depth > 0

        def __del__(self) -> None:
            context.freed.append(self.kind if context.depth else "leaked")

        def __int__(self) -> int:
            return 4096

    class Stream(Handle):
        handle = 7

        def __init__(self, flags: int) -> None:
            super().__init__("stream")
            assert flags == 1  # apart from the default stream

        def synchronize(self) -> None: ...

    class Event(Handle):
        def __init__(self) -> None:
            super().__init__("event")

        def record(self, stream: Stream) -> None:
            assert isinstance(stream, Stream)

        def query(self) -> bool:
            return True

        def time_since(self, earlier: Event) -> float:
            assert isinstance(earlier, Event)
            return 250.0

    gpu = {
        "name": "NVIDIA L4",
        "compute_capability": (8, 9),
        "retain_primary_context": context,
    }

    class Device:
        count = staticmethod(lambda: 1)

        def __init__(self, index: int) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return lambda: gpu[name]

    def mem_alloc(size: int) -> Handle:
        if size > 1 << 30:
            raise MemoryError_("cuMemAlloc failed: out of memory")
        return Handle("memory")

    def fail(*_: object) -> None:
        raise Error("cuMemcpyHtoDAsync failed: an illegal memory access was encountered\n")

    driver.Error, driver.MemoryError, driver.Device = Error, MemoryError_, Device
    driver.Stream, driver.Event, driver.mem_alloc = Stream, Event, mem_alloc
    driver.init = lambda: None
    driver.get_driver_version = lambda: 12080
    driver.mem_get_info = lambda: (1 << 29, 24 << 30)
    driver.pagelocked_empty = lambda size, dtype: np.empty(size, dtype)
    driver.memcpy_htod_async = fail
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(cuda, "_opened", cuda._opened.__wrapped__)
    return driver


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def device(monkeypatch: Patch, context: Context) -> Device:
    pretend_pycuda(monkeypatch, context)
    return cuda.open_device()


def test_a_context_is_pushed_and_popped_around_each_use(device: Device, context: Context) -> None:
    with device.active(), device.active():
        assert context.depth == 2
    with pytest.raises(ZeroDivisionError), device.active():
        _ = 1 / 0
    assert context.depth == 0

    def use() -> int:
        with device.active():
            return context.depth

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(use).result() == 1
        assert pool.submit(lambda: context.depth).result() == 0


def test_objects_free_themselves_in_their_context(device: Device, context: Context) -> None:
    """When the last reference goes, here or in another thread."""
    assert device.gpu == cuda.Gpu("NVIDIA L4", "8.9", "12.8")
    assert device.free() == 1 << 29
    with device.active():
        pinned = device.pin(100).array
        assert (pinned.shape, pinned.dtype.name) == ((100,), "uint8")
        memory, stream = device.allocate(100), device.stream()
        event = stream.record()
        assert (memory.address, stream.handle) == (4096, 7)
        assert event.done()
        assert event.since(event) == 0.25
    del memory
    assert context.freed == ["memory"]
    held = [stream, event]
    del stream, event
    with ThreadPoolExecutor(1) as pool:
        pool.submit(held.clear).result()
    assert sorted(context.freed) == ["event", "memory", "stream"]


def test_the_primary_context_is_given_back_as_such(monkeypatch: Patch, context: Context) -> None:
    """By `detach`: pycuda's destructor would call what is for other contexts."""
    pretend_pycuda(monkeypatch, context)
    opened = cuda.open_device()
    assert context.detached == 0
    del opened
    gc.collect()
    assert context.detached == 1


def test_a_forked_process_is_told_to_spawn(device: Device, monkeypatch: Patch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(
        DeviceError, match=r"^CUDA was started before .* by multiprocessing's spawn"
    ):
        cuda.open_device()


def raise_(error: Exception) -> Any:
    raise error


def test_no_room_is_one_line(device: Device, monkeypatch: Patch) -> None:
    with device.active(), pytest.raises(OutOfMemory) as caught:
        device.allocate(2 << 30)
    advice = (
        "use a smaller --max-side or fewer --scales, or another device "
        "(--engine onnxruntime --device cpu)"
    )
    assert str(caught.value) == (
        f"out of GPU memory: 2048.0 MiB more are needed, 512.0 MiB are free on NVIDIA L4; {advice}"
    )
    full = device._driver.MemoryError("cuMemHostAlloc failed: out of memory")
    monkeypatch.setattr(device._driver, "pagelocked_empty", lambda *_: raise_(full))
    with device.active(), pytest.raises(OutOfMemory) as caught:
        device.pin(60 << 20)
    told = f"out of pinned host memory: 60.0 MiB more are needed; {advice}"
    assert str(caught.value) == told


def test_what_cuda_reports_is_one_line(device: Device) -> None:
    with device.active():
        memory, stream = device.allocate(4), device.stream()
    with pytest.raises(EngineError) as caught, device.active():
        device.upload(memory, np.zeros(4, np.uint8), stream)
    reason = "cuMemcpyHtoDAsync failed: an illegal memory access was encountered"
    assert str(caught.value) == f"CUDA failed: {reason}"


def test_what_is_missing_is_named(monkeypatch: Patch, context: Context) -> None:
    """A driver, pycuda, a part of it, a GPU: in that order."""
    driver = pretend_pycuda(monkeypatch, context)

    def problem() -> str:
        with pytest.raises(DeviceError) as caught:
            cuda.open_device()
        return str(caught.value)

    driver.Device.retain_primary_context = lambda self: raise_(driver.MemoryError("no memory"))
    assert problem() == "no NVIDIA GPU that works: no memory"
    del driver.Device.retain_primary_context
    driver.Device.count = lambda: 0
    assert problem() == "no NVIDIA GPU is visible"
    driver.Device.count = lambda: 2
    with pytest.raises(DeviceError, match=r"^cuda:2 is not there, CUDA shows 2 GPUs$"):
        cuda.open_device(2)
    driver.init = lambda: raise_(driver.Error("cuInit failed: no CUDA-capable device\n"))
    assert problem() == "no NVIDIA GPU that works: cuInit failed: no CUDA-capable device"
    wheels = "pip install cuda-bindings, which needs no compiler"
    install = f"pip install 'deepmask-trt[tensorrt]', or {wheels}"
    with monkeypatch.context() as patched:
        broken = ImportError("libcurand.so.10: cannot open")
        patched.setattr(importlib, "import_module", lambda name: raise_(broken))
        assert problem() == f"pycuda cannot be loaded: libcurand.so.10: cannot open; {install}"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert problem() == f"pycuda is not installed: {install}"
    monkeypatch.setattr(ctypes, "CDLL", lambda name: raise_(OSError("libcuda.so.1")))
    assert problem() == "no NVIDIA driver on this machine"
