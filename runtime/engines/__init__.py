"""Engines by name. Each imports its library when it is chosen."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from deepmask.runtime.engines.base import DeviceError, Engine, EngineError, Tensor
from deepmask.runtime.manifest import Manifest

ENGINES = ("auto", "tensorrt", "onnxruntime")
DEVICES = ("auto", "cpu", "cuda")

__all__ = [
    "DEVICES",
    "ENGINES",
    "Choice",
    "Engine",
    "EngineError",
    "Tensor",
    "choose",
    "open_engine",
]

_NO_TENSORRT = "TensorRT is not supported by this version yet"
_NO_ONNXRUNTIME = (
    "onnxruntime is not installed: pip install 'deepmask[cpu]', or 'deepmask[gpu]' for CUDA"
)


@dataclass(frozen=True)
class Choice:
    """An engine and a device, and why `auto` took them ("" if both were asked for).

    `fallback` is the device to take if this one does not start; "" allows none.
    """

    engine: str
    device: str
    reason: str = ""
    fallback: str = ""


def choose(engine: str = "auto", device: str = "auto") -> Choice:
    """Settle `auto`; raises `EngineError` where what was asked for is not to be had."""
    if engine not in ENGINES or device not in DEVICES:
        raise EngineError(
            f"engine {engine!r} on device {device!r}: expected one of {', '.join(ENGINES)} "
            f"on one of {', '.join(DEVICES)}"
        )
    if engine == "tensorrt":
        raise EngineError(f"{_NO_TENSORRT}; use --engine onnxruntime, with --device cuda for a GPU")
    library = _onnxruntime()
    reasons = [_NO_TENSORRT] if engine == "auto" else []
    if device == "cpu":
        return Choice("onnxruntime", "cpu", "; ".join(reasons))

    missing: str = library.missing_cuda()
    if device == "cuda":
        if missing:
            raise EngineError(f"--device cuda: {missing}; use --device cpu")
        return Choice("onnxruntime", "cuda", "; ".join(reasons))
    if missing:
        return Choice("onnxruntime", "cpu", "; ".join([*reasons, missing]))
    return Choice("onnxruntime", "cuda", "; ".join([*reasons, "onnxruntime has CUDA"]), "cpu")


def open_engine(
    choice: Choice, manifest: Manifest, folder: Path, threads: int = 0
) -> tuple[Engine, Choice]:
    """Load a model's graphs; gives the engine and the choice that held.

    `threads` is the number of CPU threads, 0 for one per core. Raises `EngineError` if the library
    refuses a graph, or the device where the choice has no fallback.
    """
    load = _onnxruntime().OnnxRuntimeEngine
    try:
        return load(manifest, folder, choice.device, threads), choice
    except DeviceError as error:
        if not choice.fallback:
            raise EngineError(f"--device {choice.device}: {error}; use --device cpu") from error
        choice = Choice(choice.engine, choice.fallback, str(error))
    return load(manifest, folder, choice.device, threads), choice


def _onnxruntime() -> ModuleType:
    """The engine's module, which imports its library."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise EngineError(_NO_ONNXRUNTIME)
    try:
        return importlib.import_module("deepmask.runtime.engines.onnxruntime")
    except ImportError as error:
        text = str(error).strip().split("\n", 1)[0]
        raise EngineError(f"onnxruntime is installed but cannot be loaded: {text}") from error
