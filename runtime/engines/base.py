"""Define an engine: it holds the stages of a model, runs them, keeps tensors on its device."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from deepmask.runtime.errors import UsageError
from deepmask.runtime.model.manifest import Stage, Views
from deepmask.runtime.views.views import View, canvas_shape, render_view

#: A tensor on the engine's device. Only the engine that made it can read it; it is freed when it is
#: no longer referenced.
Tensor = Any


class EngineError(UsageError):
    """An engine that cannot be had or that failed; the text is one line and says what to do."""


class DeviceError(EngineError):
    """A device that the engine's library knows but cannot start on this machine."""


def check_names(path: Path, stage: Stage, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise `EngineError` unless a stage's file has the tensors that `model.json` names."""
    if sorted(inputs) != sorted(stage.inputs) or sorted(outputs) != sorted(stage.outputs):
        raise EngineError(
            f"{path}: has inputs {inputs} and outputs {outputs}, model.json says "
            f"{list(stage.inputs)} and {list(stage.outputs)}; export the checkpoint again"
        )


@dataclass(frozen=True, eq=False)
class Buffer:
    """Host memory of an engine, to be filled once and uploaded from there without another copy."""

    array: npt.NDArray[Any]
    memory: Any = None


class Engine(ABC):
    """Runs the stages of one model. A context manager: its memory is given back on exit.

    Several threads may call it at once; a tensor, buffer or mark belongs to the thread that made
    it. Work on a device may still be under way when a call returns: what it was given is kept until
    then, and `fetched` waits for it.
    """

    #: Engine, version and device in use, to be shown.
    description: str
    #: Most windows that one run of a stage takes.
    most_windows: int = sys.maxsize
    #: Approximate memory for the windows of one run of a stage.
    window_bytes: int = 96 << 20
    #: Masks that may wait on the device, to be fetched together; of no use where none has to wait.
    waiting_bytes: int = 64 << 20
    #: Type that mask logits have when they are fetched: float32, or float16.
    mask_dtype: np.dtype[Any] = np.dtype(np.float32)

    def __new__(cls, *_: Any, **__: Any) -> Any:
        engine = super().__new__(cls)
        _alive.add(engine)
        return engine

    def buffer(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """Return host memory for a tensor, float32, int64 or uint8, with any content."""
        return Buffer(np.empty(shape, dtype))

    @abstractmethod
    def send(self, buffer: Buffer) -> Tensor:
        """Return a tensor with the buffer's content; the buffer must not be used afterwards."""

    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """Copy `array` (float32, int64 or uint8, contiguous or not) to a tensor."""
        buffer = self.buffer(array.shape, array.dtype)
        np.copyto(buffer.array, array)
        return self.send(buffer)

    def picture(self, image: npt.NDArray[np.uint8]) -> Any:
        """Take a picture, (H, W, 3) RGB, whose views are wanted; returns what `canvas` is given."""
        return image

    def canvas(self, picture: Any, view: View, views: Views) -> Tensor:
        """Return the canvas of a view, see `render_view`: by default it is painted on the host."""
        buffer = self.buffer(canvas_shape(view), np.float32)
        render_view(picture, view, views, buffer.array)
        return self.send(buffer)

    @abstractmethod
    def run(self, stage: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a stage on named tensors; return its outputs by name, still on the device."""

    @abstractmethod
    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """Return a tensor's shape, without fetching it."""

    @abstractmethod
    def fetched(
        self, tensors: Sequence[Tensor]
    ) -> AbstractContextManager[list[npt.NDArray[np.float32]]]:
        """Wait once for the content of several tensors. Arrays are valid in the `with` alone."""

    def fetch(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        """Copy a tensor to the caller's memory."""
        with self.fetched([tensor]) as [array]:
            return array.copy()

    def mark(self) -> Any:
        """Mark this moment in the thread's work on the device; by default, on the host."""
        return time.perf_counter()

    def seconds(self, start: Any, end: Any) -> float:
        """Return the seconds between two marks, once a `fetched` after them is over."""
        return float(end - start)

    @abstractmethod
    def close(self) -> None:
        """Give back all memory, after which the engine cannot be used; may be called twice."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


#: Every engine there is.
_alive: WeakSet[Engine] = WeakSet()


def _leave_to_parent() -> None:
    """In a child process, never free what engines hold.

    Freeing it waits for the library's threads, which `fork` does not copy.
    """
    for engine in list(_alive):
        for value in vars(engine).values():
            inside = value.values() if isinstance(value, Mapping) else ()
            for held in (value, *inside):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)
