"""TensorRT's Python library, or TensorRT for RTX with the same interface, loaded when asked for.

Both keep the first logger they are given for the whole process, so each is loaded once, with one.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import threading
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from deepmask.runtime.distribution import pip_install
from deepmask.runtime.engines.base import EngineError


@dataclass(frozen=True)
class Flavour:
    """A form that TensorRT comes in.

    module      what is imported; `extra` of this project installs it.
    low, high   versions accepted: `low`, and what is below `high`.
    portable    its engines are for a compute capability, not for one GPU and driver: they are built
                without a GPU, and without measurements on one.
    """

    name: str
    module: str
    extra: str
    low: tuple[int, int]
    high: tuple[int, int]
    portable: bool


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour("tensorrt", "tensorrt", "tensorrt", (10, 16), (12, 0), False),
        Flavour("tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx", (1, 4), (2, 0), True),
    )
}

#: Messages that wait to be taken.
_KEPT = 256


class Messages:
    """What TensorRT last had to say: warnings and errors, in the order they came, of any thread."""

    def __init__(self) -> None:
        """Empty."""
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=_KEPT)  # a service may run for months

    def add(self, line: str) -> None:
        """Keep a message, as one line."""
        with self._lock:
            self._lines.append(" ".join(line.split()))

    def take(self) -> list[str]:
        """The messages since the last call, each once."""
        with self._lock:
            lines = list(dict.fromkeys(self._lines))
            self._lines.clear()
        return lines


@dataclass(frozen=True)
class Library:
    """A loaded flavour of TensorRT.

    module    `tensorrt` or `tensorrt_rtx`.
    flavour   its name, a key of `FLAVOURS`.
    version   as the library gives it.
    logger    the process's logger, to be given to every builder, parser and runtime.
    messages  what the logger was told.
    """

    module: ModuleType
    flavour: str
    version: str
    logger: Any
    messages: Messages


@functools.cache
def load_library(flavour: str) -> Library:
    """Import a flavour; raises `EngineError` with what installs it where it cannot be used."""
    known = FLAVOURS[flavour]
    install = pip_install(known.extra)
    try:
        found = importlib.util.find_spec(known.module) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise EngineError(f"{flavour} is not installed: {install}")
    try:
        module = importlib.import_module(known.module)
        version = str(module.__version__)
    except Exception as error:  # its loader raises ImportError, OSError, RuntimeError and others
        text = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise EngineError(
            f"{flavour} is installed but cannot be loaded: {text}; {install}"
        ) from error
    _check_version(known, version, install)
    messages = Messages()
    return Library(module, flavour, version, _logger(module, messages), messages)


def started(library: Library, kind: Any) -> Any:
    """A builder or a runtime of the library; raises `EngineError` where TensorRT does not start."""
    try:
        return kind(library.logger)
    except (RuntimeError, TypeError) as error:  # a null pointer where the driver is too old, say
        reason = " ".join([*library.messages.take(), str(error)][0].split())[:300]
        raise EngineError(
            f"{library.flavour} {library.version} does not start: {reason}"
        ) from error


def _check_version(flavour: Flavour, version: str, install: str) -> None:
    numbers = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    if not list(flavour.low) <= numbers < list(flavour.high):
        accepted = f">={'.'.join(map(str, flavour.low))}, <{flavour.high[0]}"
        raise EngineError(
            f"{flavour.name} {version} is installed, accepted is {accepted}: {install}"
        )


def _logger(module: ModuleType, messages: Messages) -> Any:
    """A logger that keeps warnings and errors, and drops the rest."""
    base: Any = module.ILogger

    class Logger(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= base.WARNING:
                messages.add(message)

    return Logger()
