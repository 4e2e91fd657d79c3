"""What every engine does: hold the stages of a model, run them, keep tensors where they are."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.errors import UsageError
from deepmask.runtime.model.manifest import Stage

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

    @abstractmethod
    def buffer(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Buffer:
        """Host memory for a tensor, float32 or int64, with any content."""

    @abstractmethod
    def send(self, buffer: Buffer) -> Tensor:
        """A tensor holding what the buffer holds now, which must not be used afterwards."""

    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """A tensor holding a copy of `array` (float32 or int64), which need not be contiguous."""
        buffer = self.buffer(array.shape, array.dtype)
        np.copyto(buffer.array, array)
        return self.send(buffer)

    @abstractmethod
    def run(self, stage: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a stage on named tensors; returns its outputs by name, still on the device."""

    @abstractmethod
    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """A tensor's shape, without fetching it."""

    @abstractmethod
    def fetched(
        self, tensors: Sequence[Tensor]
    ) -> AbstractContextManager[list[npt.NDArray[np.float32]]]:
        """The content of several tensors, waited for once. Arrays are valid in the `with` alone."""

    def fetch(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        """A copy of a tensor in the caller's memory."""
        with self.fetched([tensor]) as [array]:
            return array.copy()

    def mark(self) -> Any:
        """This moment in the thread's work on the device.

        By default the host's: for engines that are done when a call returns.
        """
        return time.perf_counter()

    def seconds(self, start: Any, end: Any) -> float:
        """Seconds between two marks on the device's clock, once a `fetched` after them is over."""
        return float(end - start)

    @abstractmethod
    def close(self) -> None:
        """Give back all memory; the engine is of no use afterwards. Twice does no harm."""

    def __enter__(self) -> Engine:
        """The engine itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
