"""Load TensorRT's Python library, or TensorRT for RTX with the same interface, when asked for.

Both keep the first logger they are given for the whole process, so each is loaded once, with one.
"""

from __future__ import annotations

import functools
import importlib.util
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from deepmask.runtime.distribution import pip_install
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.errors import one_line


class Flavour(NamedTuple):
    """A form that TensorRT comes in: the module imported, and versions from `low` to below `high`.

    Plans of a portable one are for a compute capability, not for one GPU and driver.
    """

    module: str
    low: tuple[int, int]
    high: tuple[int, int]
    portable: bool


FLAVOURS = {
    "tensorrt": Flavour("tensorrt", (10, 3), (12, 0), False),  # 10.3 is that of JetPack 6
    "tensorrt-rtx": Flavour("tensorrt_rtx", (1, 4), (2, 0), True),
}


class Messages:
    """TensorRT's last warnings and errors, of any thread, each one line."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=256)  # a service may run for months

    def add(self, line: str) -> None:
        self._lines.append(" ".join(line.split()))

    def take(self) -> list[str]:
        """Return the messages since the last call, each once."""
        taken: dict[str, None] = {}
        with suppress(IndexError):  # until there are no more, though other threads take some
            while True:
                taken[self._lines.popleft()] = None
        return list(taken)


@dataclass(frozen=True)
class Library:
    """A loaded flavour, a key of `FLAVOURS`; every builder, parser and runtime takes its logger."""

    module: ModuleType
    flavour: str
    version: str
    logger: Any
    messages: Messages

    def said(self) -> str:
        """Return what TensorRT last remarked, as the end of a sentence."""
        messages = self.messages.take()
        return f": {messages[-1][:300]}" if messages else ""


@functools.cache
def load_library(flavour: str) -> Library:
    """Import a flavour; raises `EngineError` with what installs it where it cannot be used."""
    known = FLAVOURS[flavour]
    install = pip_install(flavour)
    if importlib.util.find_spec(known.module) is None:
        raise EngineError(f"{flavour} is not installed: {install}")
    try:
        module = importlib.import_module(known.module)
        version = str(module.__version__)
    except Exception as error:  # its loader raises ImportError, OSError, RuntimeError and others
        raise EngineError(
            f"{flavour} is installed but cannot be loaded: {one_line(error)}; {install}"
        ) from error
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if not known.low <= numbers < known.high:
        accepted = f">={'.'.join(map(str, known.low))}, <{known.high[0]}"
        raise EngineError(f"{flavour} {version} is installed, accepted is {accepted}: {install}")
    messages = Messages()
    return Library(module, flavour, version, _logger(module, messages), messages)


def started(library: Library, kind: Any) -> Any:
    """Make a builder or a runtime; raises `EngineError` where TensorRT does not start."""
    try:
        return kind(library.logger)
    except (RuntimeError, TypeError) as error:  # a null pointer where the driver is too old, say
        reason = one_line([*library.messages.take(), error][0])
        raise EngineError(
            f"{library.flavour} {library.version} does not start: {reason}"
        ) from error


def _logger(module: ModuleType, messages: Messages) -> Any:
    base: Any = module.ILogger

    class Logger(base):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity <= base.WARNING:
                messages.add(message)

    return Logger()
