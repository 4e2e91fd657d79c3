"""Engines by name. Each imports its library when it is chosen."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

from deepmask.runtime.engines.base import DeviceError, Engine, EngineError, Tensor
from deepmask.runtime.manifest import Manifest
from deepmask.runtime.pyramid import MAX_SIDE

ENGINES = ("auto", "tensorrt", "tensorrt-rtx", "onnxruntime")
DEVICES = ("auto", "cpu", "cuda")

__all__ = [
    "DEVICES",
    "ENGINES",
    "Building",
    "Choice",
    "Engine",
    "EngineError",
    "Tensor",
    "choose",
    "open_engine",
]

_TENSORRT = ("tensorrt", "tensorrt-rtx")
_NO_ONNXRUNTIME = (
    "onnxruntime is not installed: pip install 'deepmask[cpu]', or 'deepmask[gpu]' for CUDA"
)


@dataclass(frozen=True)
class Choice:
    """An engine and a device, and why nothing that `auto` prefers was taken ("" if that it is).

    `fallback` is what to take if this one does not start; None where this was asked for.
    """

    engine: str
    device: str
    reason: str = ""
    fallback: Choice | None = None


@dataclass(frozen=True)
class Building:
    """How TensorRT's engines are made, where they have to be; see `engine_plans`."""

    max_side: int = MAX_SIDE
    cache: Path | None = None
    report: Callable[[str], None] = lambda line: None


def choose(engine: str = "auto", device: str = "auto") -> Choice:
    """Settle `auto`: TensorRT where there is a GPU for it, else ONNX Runtime, on CUDA if it can.

    Raises `EngineError` where what was asked for is not to be had.
    """
    if engine not in ENGINES or device not in DEVICES:
        raise EngineError(
            f"engine {engine!r} on device {device!r}: expected one of {', '.join(ENGINES)} "
            f"on one of {', '.join(DEVICES)}"
        )
    usable, problems = [], []
    for name, where, problem in _candidates(engine, device):
        if problem:
            problems.append(problem)
        else:
            usable.append(Choice(name, where, _joined(*problems)))
    if not usable:
        raise EngineError(_refusal(engine, device, problems))
    choice: Choice | None = None
    for candidate in reversed(usable):
        choice = replace(candidate, fallback=choice)
    assert choice is not None
    return choice


def open_engine(
    choice: Choice,
    manifest: Manifest,
    folder: Path,
    threads: int = 0,
    building: Building | None = None,
) -> tuple[Engine, Choice]:
    """Load a model's graphs; gives the engine and the choice that held.

    `threads` is the number of CPU threads, 0 for one per core. Raises `EngineError` if the library
    refuses a graph, or the device where the choice has no fallback.
    """
    failures: list[str] = []
    while True:
        try:
            if choice.engine in _TENSORRT:
                opened = _open_tensorrt(choice.engine, manifest, folder, building or Building())
            else:
                load = _onnxruntime().OnnxRuntimeEngine
                opened = load(manifest, folder, choice.device, threads)
        except EngineError as error:
            no_device = isinstance(error, DeviceError)
            if choice.fallback is None and no_device:
                raise EngineError(f"--device {choice.device}: {error}; use --device cpu") from error
            # A graph that ONNX Runtime refuses on one device it refuses on the other.
            if choice.fallback is None or (choice.engine == "onnxruntime" and not no_device):
                raise
            failures.append(str(error))
            choice = choice.fallback
        else:
            return opened, replace(choice, reason=_joined(choice.reason, *failures))


def _candidates(engine: str, device: str) -> Iterator[tuple[str, str, str]]:
    """Engines and devices that answer what was asked for, the best first, with what is missing."""
    if engine != "onnxruntime" and device != "cpu":
        no_gpu = _problem(_tensorrt("cuda").open_device)
        if engine == "auto" and no_gpu:
            yield "tensorrt", "cuda", f"no TensorRT: {no_gpu}"
        else:
            for name in _TENSORRT if engine == "auto" else (engine,):
                missing = _problem(partial(_check_tensorrt, name))
                yield name, "cuda", _joined(missing, no_gpu)
    if engine in ("auto", "onnxruntime"):
        missing = _problem(_onnxruntime)
        if device != "cpu":
            yield "onnxruntime", "cuda", missing or _onnxruntime().missing_cuda()
        if device != "cuda":
            yield "onnxruntime", "cpu", missing


def _refusal(engine: str, device: str, problems: list[str]) -> str:
    what = _joined(*problems)
    if engine in _TENSORRT and device == "cpu":
        return f"--engine {engine} runs on NVIDIA GPUs only; use --engine onnxruntime"
    if engine in _TENSORRT:
        return f"--engine {engine}: {what}; or use --engine onnxruntime"
    return f"--device cuda: {what}; use --device cpu" if device == "cuda" else what


def _check_tensorrt(flavour: str) -> None:
    library = _tensorrt("library").load_library(flavour)
    _tensorrt("build").check_gpu(library, _tensorrt("cuda").open_device().gpu)


def _open_tensorrt(flavour: str, manifest: Manifest, folder: Path, building: Building) -> Engine:
    library = _tensorrt("library").load_library(flavour)
    device = _tensorrt("cuda").open_device()
    with device.active():
        plans = _tensorrt("cache").engine_plans(
            manifest,
            folder,
            library,
            device.gpu,
            cache=building.cache,
            max_side=building.max_side,
            report=building.report,
        )
    module = importlib.import_module("deepmask.runtime.engines.tensorrt")
    kernels = _tensorrt("kernels").KernelFolder(
        building.cache or _tensorrt("store").default_folder(), building.report
    )
    engine: Engine = module.TensorRTEngine(manifest, plans, library, device, kernels)
    return engine


def _joined(*texts: str) -> str:
    """Each text once, the empty ones left out."""
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _problem(check: Callable[[], object]) -> str:
    """What a check raises, "" if nothing."""
    try:
        check()
    except EngineError as error:
        return str(error)
    return ""


def _tensorrt(module: str) -> ModuleType:
    """A module of TensorRT's package, which needs this one."""
    return importlib.import_module(f"deepmask.runtime.tensorrt.{module}")


def _onnxruntime() -> ModuleType:
    """The engine's module, which imports its library."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise EngineError(_NO_ONNXRUNTIME)
    try:
        return importlib.import_module("deepmask.runtime.engines.onnxruntime")
    except ImportError as error:
        text = str(error).strip().split("\n", 1)[0]
        raise EngineError(f"onnxruntime is installed but cannot be loaded: {text}") from error
