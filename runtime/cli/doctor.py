"""`deepmask-doctor`: what can run here, and what is missing with the command that installs it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import click

from deepmask.runtime.cli.main import Command, run_command
from deepmask.runtime.cli.messages import say, say_aside
from deepmask.runtime.cli.options import PATH, cache_option, device_option, engine_option
from deepmask.runtime.doctor import system_info
from deepmask.runtime.doctor.install_hints import CUDA, remedies
from deepmask.runtime.doctor.system_info import Library
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.shipped import find_model

#: What pip calls each library, and the module that is imported.
_MODULES = {
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "rlemasklib": "rlemasklib",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
    "pycuda": "pycuda.driver",
}
_FOR_GPU = ("tensorrt", "tensorrt-rtx", "pycuda")
#: Shared libraries of TensorRT, and of CUDA in ONNX Runtime: the function that returns the version,
#: file names on Linux, and the pip package that may hold them.
_SHARED = {
    "libnvinfer": ("getInferLibVersion", ["libnvinfer.so.11", "libnvinfer.so.10"], "tensorrt_libs"),
    "cudnn": ("cudnnGetVersion", ["libcudnn.so.9"], "nvidia.cudnn"),
}
_PROVIDERS = {CUDA: "CUDA", "CPUExecutionProvider": "CPU"}
#: Seconds that the trial may take: TensorRT builds its plans in it, the first time.
_PATIENCE = 3600

#: Loads a model as every caller does, runs a gray picture, prints the engine and auto's reason.
_TRIAL = """
import sys
import numpy
from deepmask.runtime.predict.deepmask import DeepMask
try:
    folder, engine, device, cache = sys.argv[1:]
    with DeepMask.load(folder, engine=engine, device=device, cache=cache or None) as model:
        model(numpy.full((64, 64, 3), 127, numpy.uint8), proposals=1)
        print(model.engine.description)
        print(model.choice.reason)
except Exception as error:
    sys.exit(" ".join(str(error).split()) or type(error).__name__)
"""


@click.command(cls=Command)
@engine_option
@device_option
@click.option(
    "--model",
    type=PATH,
    metavar="DIR",
    help="Model folder to check and to try the engine with, or a shipped model's name.  "
    "[default: fpn-lite]",
)
@cache_option
@click.option(
    "--clear-cache",
    is_flag=True,
    help="Remove TensorRT's plans and do nothing else. They are built again when needed.",
)
def command(
    engine: str, device: str, model: Path | None, cache: Path | None, clear_cache: bool
) -> None:
    """Show what deepmask-trt-run finds on this machine: Python, engines, GPU, memory, the model.

    The engine is tried: it loads the model and runs a small gray picture. Each thing that is
    missing is followed by the command that installs it.

    Exit code 0: the engine runs; 1: it does not, and the last lines say why; 2: wrong use; 130 or
    143: stopped by Ctrl-C or SIGTERM.
    """
    if clear_cache:
        _clear(cache)
        return
    from deepmask.runtime.engines.tensorrt import cuda

    gpus, no_gpu = system_info.gpus()
    found = _libraries()
    _line("python", f"{platform.python_version()}, {platform.system()}, {sys.executable}")
    _line("deepmask", system_info.project_version())
    _line("cpu", f"{system_info.cpu()}; memory {system_info.memory()}")
    for text in gpus or [f"none ({no_gpu})"]:
        _line("gpu", text)
    runs = any(one.name == "onnxruntime" and one.version for one in found)
    providers = system_info.providers() if runs else ()
    gpu = bool(gpus) or cuda.may_have_gpu()
    for one in found:
        if one.for_gpu and not (gpu or one.version):
            continue
        names = ", ".join(name for key, name in _PROVIDERS.items() if key in providers)
        extra = f" for {names}" if one.name == "onnxruntime" and names else ""
        _line(one.name, one.version + extra if one.version else one.problem)
    if gpu or cache is not None:
        _line("cache", _cached(cache))

    folder, problem = _model(model)
    if folder is not None and not problem:
        if gpus and sys.stderr.isatty():
            say_aside("trying the engine; TensorRT builds for minutes the first time")
        problem = _try(engine, device, folder, cache)
    runs_cuda = system_info.driver_cuda(gpus)
    for text in remedies(found, providers, gpu, bool(gpus), runs_cuda):
        say(text)
    if problem:
        raise OneLineError(f"{engine} cannot run: {problem}")


def _libraries() -> list[Library]:
    shared = _SHARED if platform.system() == "Linux" else {}
    with ThreadPoolExecutor(len(_MODULES) + len(shared)) as pool:  # each asks another process
        asked = [
            pool.submit(system_info.library, module, system_info.requirement(pip), pip in _FOR_GPU)
            for pip, module in _MODULES.items()
        ]
        asked += [pool.submit(system_info.shared_library, name, *shared[name]) for name in shared]
        return [one.result() for one in asked]


def _cached(cache: Path | None) -> str:
    """Describe the cache: number of plans and size."""
    try:
        from deepmask.runtime.engines.tensorrt import plan_cache
    except ImportError as error:
        return f"unknown ({error})"
    folder = cache or plan_cache.default_folder()
    plans = sum(path.suffix == ".plan" for path in plan_cache.files(folder))
    size = plan_cache.size_of(folder) / 1e6
    return f"{plans} TensorRT plan{'s' * (plans != 1)}, {size:.1f} MB, {folder}"


def _clear(cache: Path | None) -> None:
    from deepmask.runtime.engines.tensorrt import plan_cache

    folder = cache or plan_cache.default_folder()
    size = plan_cache.clear(folder)
    say(f"removed {size / 1e6:.1f} MB from {folder}")


def _model(wanted: Path | None) -> tuple[Path | None, str]:
    """Check the model folder and show it; return it, and what is wrong with it."""
    try:
        folder = find_model(wanted)
        manifest = load_manifest(folder)
        size = sum((folder / file).stat().st_size for file in manifest.files()) / 1e6
    except (ModelFolderError, ImportError, OSError) as error:
        problem = " ".join(str(error).split())
        _line("model", problem)
        return None, problem
    text = f"{manifest.name}, {manifest.precision}, {size:.1f} MB, {folder}"
    _line("model", f"{text}, SHA-256 of all files verified")
    return folder, ""


def _try(engine: str, device: str, folder: Path, cache: Path | None) -> str:
    """Show whether the engine runs the model; return what is wrong if it does not."""
    arguments = [str(folder), engine, device, str(cache or "")]
    output, problem = system_info.ask([sys.executable, "-c", _TRIAL, *arguments], _PATIENCE)
    if problem:
        _line("engine", f"{engine} on device {device} does not run")
        return problem
    description, _, reason = output.partition("\n")
    _line("engine", f"{description}: runs" + (f" (auto: {reason})" if reason else ""))
    return ""


def _line(name: str, text: str) -> None:
    say(f"{name:<13}{text}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-doctor`."""
    run_command(command, "deepmask-doctor", arguments=arguments)
