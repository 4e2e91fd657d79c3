"""TensorRT, and TensorRT for RTX, on one NVIDIA GPU.

Calls return as soon as their work is queued; only `fetched` waits. Stages are timed by CUDA events.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Buffer, Engine, EngineError
from deepmask.runtime.engines.tensorrt.cuda import Device, Event
from deepmask.runtime.engines.tensorrt.flavours import Library, started
from deepmask.runtime.engines.tensorrt.graphs import RESIZE, view_stage
from deepmask.runtime.engines.tensorrt.loaded_plan import LoadedPlan
from deepmask.runtime.engines.tensorrt.profile import LARGEST
from deepmask.runtime.engines.tensorrt.runtime_cache import open_runtime_cache
from deepmask.runtime.engines.tensorrt.thread_context import DeviceTensor, ThreadContext
from deepmask.runtime.model.manifest import Manifest, Views
from deepmask.runtime.views.view_graph import ACROSS, DOWN, PICTURE, intervals
from deepmask.runtime.views.views import View


class Picture(NamedTuple):
    """A picture whose views are wanted: here, and on the GPU if it is resized there."""

    image: npt.NDArray[np.uint8]
    tensor: DeviceTensor | None


class TensorRTEngine(Engine):
    """Run the plans of a model. Each thread that calls it gets a `ThreadContext` of its own."""

    window_bytes = 256 << 20

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
            stages = [*manifest.stages, view_stage(manifest)[0]]
            for stage in (one for one in stages if one.name in plans):
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
            (
                profile[name].max[0]
                for stage in (*manifest.window_stages, *manifest.box_stages)
                for name in (*stage.with_role("locations"), *stage.with_role("boxes"))
                for profile in self._plans[stage.name].profiles
            ),
            default=sys.maxsize,
        )
        self.mask_dtype = np.result_type(
            np.float16,  # the least; a model without masks has no other
            *(
                self._plans[stage.name].output_types[name]
                for stage in manifest.window_stages
                for name in stage.outputs
                if stage.outputs[name].role == "mask"
            ),
        )
        self.description = f"{library.flavour} {library.version} on {device.gpu.name}"

    def picture(self, image: npt.NDArray[np.uint8]) -> Picture:
        fits = RESIZE in self._plans and max(image.shape) <= LARGEST
        return Picture(image, self.upload(image) if fits else None)

    def canvas(self, picture: Picture, view: View, views: Views) -> DeviceTensor:
        if picture.tensor is None:
            painted: DeviceTensor = super().canvas(picture.image, view, views)
            return painted
        down, across = intervals(picture.image.shape[:2], view, views)
        given = {PICTURE: picture.tensor, DOWN: self.upload(down), ACROSS: self.upload(across)}
        [canvas] = self.run(RESIZE, given).values()
        return canvas

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
