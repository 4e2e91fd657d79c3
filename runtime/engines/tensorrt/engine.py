"""TensorRT, and TensorRT for RTX, on one NVIDIA GPU.

Calls return as soon as their work is queued; features stay on the GPU from trunk to score to mask,
and the host waits only in `fetched`. Stages are timed by CUDA events, on the GPU's own clock.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Buffer, Engine, EngineError
from deepmask.runtime.engines.tensorrt.device import Device, Event
from deepmask.runtime.engines.tensorrt.flavours import Library, started
from deepmask.runtime.engines.tensorrt.graph import BuiltGraph, load_graph
from deepmask.runtime.engines.tensorrt.runtime_cache import KernelFolder
from deepmask.runtime.engines.tensorrt.thread_context import DeviceTensor, Lane
from deepmask.runtime.model.manifest import Manifest


class TensorRTEngine(Engine):
    """The three graphs as built engines. Each thread that calls it gets a `Lane` of its own."""

    def __init__(
        self,
        manifest: Manifest,
        plans: Mapping[str, bytes],
        library: Library,
        device: Device,
        kernels: KernelFolder | None = None,
    ) -> None:
        """Load the plans, by graph; raises `EngineError` if TensorRT refuses one.

        `kernels` is where those are kept that the library compiles for them, if it compiles any.
        """
        self._device = device
        self._local = threading.local()
        self._lanes: weakref.WeakSet[Lane] = weakref.WeakSet()
        with device.active():
            stages = {stage.name: stage for stage in manifest.stages}
            runtime = started(library, library.module.Runtime)
            self._graphs: dict[str, BuiltGraph] = {
                name: load_graph(name, graph, plans[name], runtime, library, device.gpu, kernels)
                for name, graph in stages.items()
            }
        # Also at interpreter exit: an engine must go while CUDA is still there.
        weakref.finalize(self, _release, device, self._graphs)
        self.most_windows = min(
            profile[name].max[0]
            for stage in manifest.window_stages
            for name in stage.with_role("locations")
            for profile in self._graphs[stage.name].profiles
        )
        self.description = f"{library.flavour} {library.version} on {device.gpu.name}"

    def buffer(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """See `Engine.buffer`. Pinned memory, which is used again when its upload is done."""
        with self._lane() as lane:
            return lane.buffer(shape, dtype)

    def send(self, buffer: Buffer) -> DeviceTensor:
        """See `Engine.send`."""
        with self._lane() as lane:
            return lane.send(buffer)

    def run(self, graph: str, inputs: Mapping[str, DeviceTensor]) -> dict[str, DeviceTensor]:
        """See `Engine.run`."""
        with self._lane() as lane:
            return lane.run(graph, inputs)

    def shape(self, tensor: DeviceTensor) -> tuple[int, ...]:
        """See `Engine.shape`."""
        return tensor.shape

    @contextmanager
    def fetched(self, tensors: Sequence[DeviceTensor]) -> Iterator[list[npt.NDArray[np.float32]]]:
        """See `Engine.fetched`."""
        with self._lane() as lane:
            buffers = lane.fetch(tensors)
            for graph in self._graphs.values():
                graph.keep_kernels(all_of_them=False)
        yield [buffer.array for buffer in buffers]

    def mark(self) -> Event:
        """See `Engine.mark`."""
        with self._lane() as lane:
            return lane.stream.record()

    def seconds(self, start: Event, end: Event) -> float:
        """See `Engine.seconds`."""
        with self._device.active():
            return end.since(start)

    def close(self) -> None:
        """See `Engine.close`. No thread may be running a graph."""
        with self._device.active():
            for lane in list(self._lanes):
                lane.close()
            self._lanes.clear()
            _release(self._device, self._graphs)

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        """The calling thread's lane, with the device active."""
        with self._device.active():
            if not hasattr(self._local, "lane"):
                self._local.lane = Lane(self._device, self._graphs)
                self._lanes.add(self._local.lane)
            yield self._local.lane


def _release(device: Device, graphs: dict[str, BuiltGraph]) -> None:
    try:
        with suppress(EngineError), device.active():
            for graph in graphs.values():
                graph.keep_kernels()  # with those that were compiled while it ran
    finally:
        graphs.clear()
