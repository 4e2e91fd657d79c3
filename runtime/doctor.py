"""`deepmask-doctor`: what can run here, and what is missing with the command that installs it."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import click

from deepmask.runtime import probes
from deepmask.runtime.manifest import Manifest, ModelFolderError, load_manifest
from deepmask.runtime.probes import Library

#: Libraries that the runtime needs, and those of its engines: module, and what pip calls it.
_BASE = (
    ("numpy", "numpy"),
    ("cv2", "opencv-python-headless"),
    ("PIL", "pillow"),
    ("rlemasklib", "rlemasklib"),
)
_ENGINES = (
    ("onnxruntime", "onnxruntime"),
    ("tensorrt", "tensorrt"),
    ("tensorrt_rtx", "tensorrt-rtx"),
    ("pycuda", "pycuda"),
)
_CUDA = "CUDAExecutionProvider"
_PROVIDERS = {_CUDA: "CUDA", "CPUExecutionProvider": "CPU"}

#: Loads a model as every caller does, runs a gray picture, prints the engine and why auto took it.
_TRIAL = """
import sys
import numpy
from deepmask.runtime import DeepMask
try:
    with DeepMask.load(sys.argv[1], engine=sys.argv[2], device=sys.argv[3]) as model:
        model(numpy.full((64, 64, 3), 127, numpy.uint8), proposals=1)
        print(model.engine.description)
        print(model.choice.reason)
except Exception as error:
    sys.exit(" ".join(str(error).split()) or type(error).__name__)
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--engine",
    type=click.Choice(["auto", "tensorrt", "onnxruntime"]),
    default="auto",
    show_default=True,
    help="The engine that must be able to run.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where it must run.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Model folder to check and to try the engine with.  [default: the shipped one]",
)
def command(engine: str, device: str, model: Path | None) -> None:
    """Show what deepmask-trt-run finds on this machine: Python, engines, GPU, memory, the model.

    The engine is tried: it loads the model and runs a small gray picture. Each thing that is
    missing is followed by the command that installs it.

    Exit code 0: the engine runs; 1: it does not, and the last lines say why; 2: wrong use.
    """
    wanted = [*_BASE, *_ENGINES]
    with ThreadPoolExecutor(len(wanted)) as pool:
        asked = [pool.submit(probes.library, m, probes.requirement(pip)) for m, pip in wanted]
        gpus, no_gpu = probes.gpus()
        libraries = [one.result() for one in asked]
    base, engines = libraries[: len(_BASE)], libraries[len(_BASE) :]
    _line("python", f"{platform.python_version()}, {platform.system()}, {sys.executable}")
    _line("deepmask", probes.project_version())
    _line("cpu", f"{probes.cpu()}; memory {probes.memory()}")
    for text in gpus or [f"none ({no_gpu})"]:
        _line("gpu", text)
    providers = probes.providers() if engines[0].version else ()
    for one in libraries:
        names = ", ".join(name for key, name in _PROVIDERS.items() if key in providers)
        extra = f" for {names}" if one.name == "onnxruntime" and names else ""
        _line(one.name, one.version + extra if one.version else one.problem)

    folder, problem = _model(model)
    if folder is not None and not problem:
        problem = _try(engine, device, folder)
    for text in _remedies(base, engines, providers, bool(gpus)):
        click.echo(text)
    if problem:
        click.echo(f"Error: {engine} cannot run: {problem}", err=True)
        sys.exit(1)


def _model(wanted: Path | None) -> tuple[Path | None, str]:
    """Show the model folder, its hashes checked; the folder, and what is wrong with it."""
    try:
        folder = wanted or _shipped()
        manifest = load_manifest(folder)
    except (ModelFolderError, ImportError, OSError) as error:
        problem = " ".join(str(error).split())
        _line("model", problem)
        return None, problem
    _line("model", f"{_describe(manifest, folder)}, SHA-256 of all files verified")
    return folder, ""


def _shipped() -> Path:
    from deepmask.runtime.deepmask import shipped_model

    return shipped_model()


def _describe(manifest: Manifest, folder: Path) -> str:
    size = sum((folder / graph.file).stat().st_size for graph in manifest.graphs.values())
    return f"{manifest.name}, {manifest.precision}, {size / 1e6:.1f} MB, {folder}"


def _try(engine: str, device: str, folder: Path) -> str:
    """Show whether the engine runs the model; what is wrong if it does not."""
    output, problem = probes.ask([sys.executable, "-c", _TRIAL, str(folder), engine, device])
    if problem:
        _line("engine", f"{engine} on device {device} does not run")
        return problem
    description, _, reason = output.partition("\n")
    _line("engine", f"{description}: runs" + (f" (auto: {reason})" if reason else ""))
    return ""


def _remedies(
    base: Sequence[Library], engines: Sequence[Library], providers: Sequence[str], gpu: bool
) -> list[str]:
    """For each missing thing a line with the command that installs it."""
    remedies = {one.name: _pip("install", one.requirement) for one in base if not one.version}
    gpu_note = "" if gpu else "   (of use with an NVIDIA GPU)"
    for one in engines:
        if not one.version:
            note = "" if one.name == "onnxruntime" else gpu_note
            remedies[one.name] = _pip("install", one.requirement) + note
        elif one.name == "onnxruntime" and _CUDA not in providers:
            # The two packages hold the same module: one must go before the other comes.
            wanted = probes.requirement("onnxruntime-gpu")
            swap = _pip("uninstall", "-y", "onnxruntime"), _pip("install", wanted)
            remedies["CUDA"] = " && ".join(swap) + gpu_note
    return [f"to get {name}: {text}" for name, text in remedies.items()]


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", *arguments])


def _line(name: str, text: str) -> None:
    click.echo(f"{name:<13}{text}")


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)


def main() -> None:
    """Run the command; whatever the user got wrong is told in one line."""
    try:
        command.main(standalone_mode=False)
    except click.UsageError as error:
        _fail(f"{error.format_message()} (deepmask-doctor --help explains)", 2)
    except click.Abort:
        _fail("interrupted", 130)
