"""Choose an engine and load a model on it. A library is imported when its engine is chosen."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

from deepmask.runtime.distribution import NAME, pip_install
from deepmask.runtime.engines.base import DeviceError, Engine, EngineError
from deepmask.runtime.engines.device import ACCEPTED, gpu_index, is_device
from deepmask.runtime.engines.tensorrt import build, cuda, flavours, plan_cache
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.progress import Progress, no_progress

ENGINES = ("auto", "tensorrt", "tensorrt-rtx", "openvino", "openvino-bf16", "onnxruntime")

TENSORRT = ("tensorrt", "tensorrt-rtx")
_OPENVINO = ("openvino", "openvino-bf16")
_INSTALL = {
    "onnxruntime": f"{pip_install('cpu')}, or '{NAME}[gpu]' for CUDA",
    "openvino": pip_install("openvino"),
}


@dataclass(frozen=True)
class Choice:
    """An engine and a device: "cpu", "cuda", "cuda:1".

    reason    why `auto` took nothing that it prefers; "" if it did.
    fallback  what to take if this one does not start; None where this was asked for.
    """

    engine: str
    device: str
    reason: str = ""
    fallback: Choice | None = None


@dataclass(frozen=True)
class Building:
    """How to build TensorRT's plans: arguments of `model_plans`. `tf32` is for CUDA too."""

    max_side: int = 0
    top: float | None = None
    tf32: bool = True
    fp16: bool = True
    cache: Path | None = None
    report: Callable[[str], None] = lambda line: None
    progress: Progress = no_progress


def choose(engine: str = "auto", device: str = "auto", precision: str = "fp32") -> Choice:
    """Settle `auto` for a model of a precision.

    TensorRT where there is a GPU for it, else ONNX Runtime on CUDA if it can; on the CPU OpenVINO
    for int8, if it is installed, else ONNX Runtime (what each takes is in benchmarks/NOTES.md).
    Raises `EngineError` where what was asked for is not to be had.
    """
    if engine not in ENGINES or not is_device(device):
        raise EngineError(
            f"engine {engine!r} on device {device!r}: expected one of {', '.join(ENGINES)} "
            f"on {ACCEPTED}"
        )
    usable, problems = [], []
    notes: list[str] = []
    for name, where, problem in _candidates(engine, device, precision):
        if not problem:
            usable.append(Choice(name, where, _joined(*notes)))
            continue
        problems.append(problem)
        if where == "cpu" or cuda.may_have_gpu():  # else there is nothing to miss
            notes.append(problem)
    if not usable:
        raise EngineError(_refusal(engine, device, problems))
    choice = usable.pop()
    while usable:
        choice = replace(usable.pop(), fallback=choice)
    return choice


def open_engine(
    choice: Choice,
    manifest: Manifest,
    folder: Path,
    threads: int = 0,
    building: Building | None = None,
) -> tuple[Engine, Choice]:
    """Load a model's stages; return the engine and the choice that held.

    `threads` is the number of CPU threads, 0 for one per core. Raises `EngineError` if the library
    refuses a graph, or the device where the choice has no fallback.
    """
    failures: list[str] = []
    while True:
        try:
            opened = _open(choice, manifest, folder, threads, building or Building())
        except EngineError as error:
            no_device = isinstance(error, DeviceError)
            if choice.fallback is None and no_device:
                raise EngineError(f"--device {choice.device}: {error}; use --device cpu") from error
            # A graph that ONNX Runtime refuses on CUDA it refuses on the CPU, where all end.
            if choice.fallback is None or (choice.engine == "onnxruntime" and not no_device):
                raise
            failures.append(str(error))
            choice = choice.fallback
        else:
            return opened, replace(choice, reason=_joined(choice.reason, *failures))


def _candidates(engine: str, device: str, precision: str) -> Iterator[tuple[str, str, str]]:
    """Yield engines and devices that were asked for, the best first, with what is missing."""
    gpu = "cuda" if device == "auto" else device
    if engine in ("auto", *TENSORRT) and device != "cpu":
        no_gpu = _problem(partial(cuda.open_device, gpu_index(gpu)))
        if engine == "auto" and no_gpu:
            yield "tensorrt", gpu, f"no TensorRT: {no_gpu}"
        else:
            for name in TENSORRT if engine == "auto" else (engine,):
                missing = _problem(partial(_check_tensorrt, name, gpu))
                yield name, gpu, _joined(missing, no_gpu)
    if engine in ("auto", "onnxruntime"):
        missing = _problem(partial(_module, "onnxruntime"))
        if device != "cpu":
            yield "onnxruntime", gpu, missing or _module("onnxruntime").missing_cuda()
    if device in ("auto", "cpu"):
        for name in _cpu_engines(engine, precision):
            yield name, "cpu", _problem(partial(_module, name))


def _cpu_engines(engine: str, precision: str) -> tuple[str, ...]:
    if engine != "auto":
        return (engine,) if engine not in TENSORRT else ()
    if precision.startswith("int8") or importlib.util.find_spec("onnxruntime") is None:
        return ("openvino", "onnxruntime")
    return ("onnxruntime",)


def _refusal(engine: str, device: str, problems: list[str]) -> str:
    what = _joined(*problems)
    if engine in TENSORRT and device == "cpu":
        return f"--engine {engine} runs on NVIDIA GPUs only; use --engine onnxruntime"
    if engine in _OPENVINO and device not in ("auto", "cpu"):
        return f"--engine {engine} runs on CPUs only; use --device cpu"
    if engine in (*TENSORRT, *_OPENVINO):
        return f"--engine {engine}: {what}; or use --engine onnxruntime"
    return what if device in ("auto", "cpu") else f"--device {device}: {what}; use --device cpu"


def _check_tensorrt(flavour: str, device: str) -> None:
    library = flavours.load_library(flavour)
    build.check_gpu(library, cuda.open_device(gpu_index(device)).gpu)


def _open(
    choice: Choice, manifest: Manifest, folder: Path, threads: int, building: Building
) -> Engine:
    opened: Engine
    if choice.engine in TENSORRT:
        library = flavours.load_library(choice.engine)
        device = cuda.open_device(gpu_index(choice.device))
        with device.active():
            plans = plan_cache.model_plans(
                manifest, folder, library, device.gpu, free=device.free(), **vars(building)
            )
        cache = building.cache or plan_cache.default_folder()
        return TensorRTEngine(manifest, plans, library, device, cache, building.report)
    module = _module(choice.engine)
    if choice.engine == "onnxruntime":
        opened = module.OnnxRuntimeEngine(manifest, folder, choice.device, threads, building.tf32)
    else:
        arithmetic = module.BFLOAT16 if choice.engine == "openvino-bf16" else module.FLOAT32
        opened = module.OpenVINOEngine(manifest, folder, arithmetic, threads)
    return opened


def _joined(*texts: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _problem(check: Callable[[], object]) -> str:
    try:
        check()
    except EngineError as error:
        return str(error)
    return ""


def _module(engine: str) -> ModuleType:
    """Import the module of an engine, and with it its library."""
    library = engine.removesuffix("-bf16")
    if importlib.util.find_spec(library) is None:
        raise EngineError(f"{library} is not installed: {_INSTALL[library]}")
    try:
        if library == "openvino":
            from deepmask.runtime.engines import openvino

            module: ModuleType = openvino
        else:
            from deepmask.runtime.engines import onnxruntime

            module = onnxruntime
    except ImportError as error:
        text = str(error).strip().split("\n", 1)[0]
        raise EngineError(f"{library} is installed but cannot be loaded: {text}") from error
    if engine == "openvino-bf16" and (missing := module.missing_bfloat16()):
        raise EngineError(missing)
    return module
