"""One thread's share of the GPU: a stream, memory, and execution contexts on shared weights.

A stream's work is done in order, so memory is handed on at once; only the host's reads wait.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Buffer, EngineError
from deepmask.runtime.engines.tensorrt.cuda import Device, Event, Memory, Pinned, Stream
from deepmask.runtime.engines.tensorrt.loaded_plan import LoadedPlan, PlanContext
from deepmask.runtime.engines.tensorrt.pool import Lease, Pool
from deepmask.runtime.engines.tensorrt.profile import choose_profile


@dataclass(frozen=True, eq=False)
class DeviceTensor:
    """An array on the GPU, dense, in C order."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    lease: Lease[Memory]


class ThreadContext:
    """What one thread works with. Only that thread may call it, with the device active."""

    def __init__(self, device: Device, plans: Mapping[str, LoadedPlan]) -> None:
        self._device = device
        self._plans = plans
        self.stream = device.stream()
        self._memory: Pool[Memory] = Pool(device.allocate, self.stream.synchronize)
        self._pinned: Pool[Pinned] = Pool(device.pin, self.stream.synchronize)
        # Pinned memory that queued copies still use, with the moment at which they are done.
        self._in_flight: deque[tuple[Event, list[Buffer]]] = deque()
        self._scratch: Lease[Memory] | None = None
        self._contexts: dict[tuple[str, int], PlanContext] = {}
        weakref.finalize(self, _retire, device, self.stream, self._contexts, self._in_flight)

    def buffer(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """Lend pinned memory for a tensor, which is used again when its upload is done."""
        while self._in_flight and self._in_flight[0][0].done():
            self._in_flight.popleft()
        size = _size(shape, dtype)
        lease = self._pinned.take(size)
        return Buffer(lease.memory.array[:size].view(dtype).reshape(shape), lease)

    def send(self, buffer: Buffer) -> DeviceTensor:
        """Queue the upload of a buffer."""
        tensor = self._empty(buffer.array.shape, buffer.array.dtype)
        try:
            self._device.upload(tensor.lease.memory, buffer.array, self.stream)
        finally:  # also if Ctrl-C comes when the copy is queued
            self._in_flight.append((self.stream.record(), [buffer]))
        return tensor

    def run(self, name: str, inputs: Mapping[str, DeviceTensor]) -> dict[str, DeviceTensor]:
        """Queue a run of a plan."""
        plan = self._plans[name]
        shapes = {key: tensor.shape for key, tensor in inputs.items()}
        profile = choose_profile(plan.profiles, shapes)
        context = self._context(plan, profile)
        plan.prepare(context, shapes)
        types = plan.output_types
        outputs = {key: self._empty(shape, types[key]) for key, shape in context.made.items()}
        addresses = {key: t.lease.memory.address for key, t in {**inputs, **outputs}.items()}
        scratch = self._scratch_of(context.scratch)
        lent = scratch.memory.address, scratch.size
        plan.enqueue(context, addresses, lent, self.stream.handle)
        return outputs

    def fetch(self, tensors: Sequence[DeviceTensor]) -> list[Buffer]:
        """Wait for the tensors' content; valid as long as the buffers are referenced."""
        buffers = [self.buffer(tensor.shape, tensor.dtype) for tensor in tensors]
        try:
            for buffer, tensor in zip(buffers, tensors, strict=True):
                self._device.download(buffer.array, tensor.lease.memory, self.stream)
        finally:  # should this or the wait be interrupted
            self._in_flight.append((self.stream.record(), buffers))
        self.stream.synchronize()
        self._memory.next_round()
        self._pinned.next_round()
        return buffers

    def close(self) -> None:
        """Give back the contexts and all memory that no tensor holds."""
        self.stream.synchronize()
        self._contexts.clear()
        self._in_flight.clear()
        self._scratch = None
        self._memory.trim()
        self._pinned.trim()

    def _empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> DeviceTensor:
        return DeviceTensor(tuple(shape), np.dtype(dtype), self._memory.take(_size(shape, dtype)))

    def _scratch_of(self, size: int) -> Lease[Memory]:
        """Memory for activations, as much as any run needed: one is done after another in it."""
        if self._scratch is None or self._scratch.size < size:
            self._scratch = None  # may be what the larger one is made of
            self._scratch = self._memory.take(size)
        return self._scratch

    def _context(self, plan: LoadedPlan, profile: int) -> PlanContext:
        """One for each profile, so that none is switched; all are lent the same scratch memory."""
        key = (plan.name, profile)
        if key not in self._contexts:
            self._contexts[key] = plan.create_context(profile, self.stream.handle)
        return self._contexts[key]


def _retire(
    device: Device, stream: Stream, contexts: dict[Any, Any], in_flight: deque[Any]
) -> None:
    with suppress(EngineError), device.active():
        stream.synchronize()  # a context must outlive its work
        contexts.clear()
        in_flight.clear()  # whose arrays are views: they hold pinned memory


def _size(shape: Sequence[int], dtype: npt.DTypeLike) -> int:
    return prod(shape) * np.dtype(dtype).itemsize
