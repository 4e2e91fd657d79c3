"""What every engine does: hold the three graphs, run them by name, keep tensors where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

#: A tensor on the engine's device. Only the engine that made it can read it; it is freed when it is
#: no longer referenced.
Tensor = Any


class EngineError(Exception):
    """An engine that cannot be had or that failed; the text is one line and says what to do."""


class DeviceError(EngineError):
    """A device that the engine's library knows but cannot start on this machine."""


class Engine(ABC):
    """Runs the graphs of one model. A context manager: its memory is given back on exit.

    `run` may be called by several threads at once.
    """

    #: Engine, version and device in use, to be shown.
    description: str

    @abstractmethod
    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """A tensor holding `array` (float32 or int64), which need not be contiguous.

        The array must not be written to as long as the tensor lives.
        """

    @abstractmethod
    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph of the model on named tensors; gives its outputs, still on the device."""

    @abstractmethod
    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """A tensor's shape, without fetching it."""

    @abstractmethod
    def fetch(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        """A copy of a tensor in the caller's memory."""

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
