"""TensorRT, and TensorRT for RTX, on one NVIDIA GPU.

Calls return as soon as their work is queued; only `fetched` waits. Stages are timed by CUDA events.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Buffer, Engine, EngineError
from deepmask.runtime.engines.tensorrt.cuda import Device, Event
from deepmask.runtime.engines.tensorrt.flavours import Library, started
from deepmask.runtime.engines.tensorrt.loaded_plan import LoadedPlan
from deepmask.runtime.engines.tensorrt.runtime_cache import open_runtime_cache
from deepmask.runtime.engines.tensorrt.thread_context import DeviceTensor, ThreadContext
from deepmask.runtime.model.manifest import Manifest


class TensorRTEngine(Engine):
    """Run the plans of a model. Each thread that calls it gets a `ThreadContext` of its own."""

    def __init__(
        self,
        manifest: Manifest,
        plans: Mapping[str, bytes],
        library: Library,
        device: Device,
        cache: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Load the plans, by stage; raises `EngineError` if TensorRT refuses one.

        `cache` is the folder for kernels that are compiled where they run, None to keep none.
        """
        self._device = device
        self._local = threading.local()
        self._threads: weakref.WeakSet[ThreadContext] = weakref.WeakSet()
        self._plans: dict[str, LoadedPlan] = {}
        with device.active():
            runtime = started(library, library.module.Runtime)
            for stage in manifest.stages:
                engine = runtime.deserialize_cuda_engine(plans[stage.name])
                if engine is None:
                    raise EngineError(
                        f"{library.flavour} {library.version} does not load its plan of "
                        f"{stage.name}{library.said()}; deepmask-doctor --clear-cache removes it"
                    )
                kept = open_runtime_cache(cache, stage, engine, library, device.gpu, report)
                self._plans[stage.name] = LoadedPlan(stage, engine, library, kept)
        # Also at interpreter exit: plans must go while CUDA is still there.
        weakref.finalize(self, _release, device, self._plans)
        self.most_windows = min(
            profile[name].max[0]
            for stage in manifest.window_stages
            for name in stage.with_role("locations")
            for profile in self._plans[stage.name].profiles
        )
        self.description = f"{library.flavour} {library.version} on {device.gpu.name}"

    def buffer(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        with self._thread() as thread:
            return thread.buffer(shape, dtype)

    def send(self, buffer: Buffer) -> DeviceTensor:
        with self._thread() as thread:
            return thread.send(buffer)

    def run(self, stage: str, inputs: Mapping[str, DeviceTensor]) -> dict[str, DeviceTensor]:
        with self._thread() as thread:
            return thread.run(stage, inputs)

    def shape(self, tensor: DeviceTensor) -> tuple[int, ...]:
        return tensor.shape

    @contextmanager
    def fetched(self, tensors: Sequence[DeviceTensor]) -> Iterator[list[npt.NDArray[np.float32]]]:
        with self._thread() as thread:
            buffers = thread.fetch(tensors)
            for plan in self._plans.values():
                plan.keep_kernels(only_new=True)
        yield [buffer.array for buffer in buffers]

    def mark(self) -> Event:
        with self._thread() as thread:
            return thread.stream.record()

    def seconds(self, start: Event, end: Event) -> float:
        with self._device.active():
            return end.since(start)

    def close(self) -> None:
        """Give back all memory. No thread may be running a stage."""
        with self._device.active():
            for thread in list(self._threads):
                thread.close()
            self._threads.clear()
            _release(self._device, self._plans)

    @contextmanager
    def _thread(self) -> Iterator[ThreadContext]:
        with self._device.active():
            if not hasattr(self._local, "context"):
                self._local.context = ThreadContext(self._device, self._plans)
                self._threads.add(self._local.context)
            yield self._local.context


def _release(device: Device, plans: dict[str, LoadedPlan]) -> None:
    try:
        with suppress(EngineError), device.active():
            for plan in plans.values():
                plan.keep_kernels()  # with those that were compiled while it ran
    finally:
        plans.clear()
