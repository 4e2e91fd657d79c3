"""Give the command that installs each thing that is missing on this machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from deepmask.runtime.doctor import system_info
from deepmask.runtime.doctor.system_info import Library

CUDA = "CUDAExecutionProvider"
_DRIVER = "sudo ubuntu-drivers install   (Ubuntu; elsewhere https://www.nvidia.com/drivers)"
#: Shared libraries, whose pip packages are parts of those that need them.
_SHARED = ("libnvinfer", "cudnn")
_TENSORRT = ("tensorrt", "tensorrt_rtx")


def remedies(
    found: Iterable[Library],
    providers: Sequence[str],
    gpu: bool,
    works: bool = True,
    driver_cuda: int = 0,
) -> Iterator[str]:
    """Yield a line for each of `found` that is missing, with the command that installs it.

    providers   ONNX Runtime's execution providers.
    gpu         whether there is an NVIDIA GPU. Without one, no library for it is missed.
    works       whether its driver runs.
    driver_cuda major version of CUDA that it runs; 0: not known.
    """
    if gpu and not works:
        yield f"to get the driver: {_DRIVER}"
    libraries = {one.name: one for one in found}
    for one in libraries.values():
        in_place = one.name == "pycuda" and system_info.is_there("cuda.bindings")
        if one.name in _SHARED or in_place or (one.for_gpu and not gpu):
            continue
        if one.name in _TENSORRT:
            yield from _tensorrt(one, driver_cuda)
        elif not one.version:
            yield f"to get {one.name}: {_install(one)}"
        elif not gpu or one.name != "onnxruntime":
            continue
        elif CUDA not in providers:
            # The two packages hold the same module: one must go before the other comes.
            remove = _pip("uninstall", "-y", "onnxruntime")
            yield f"to get CUDA: {remove} && {_pip('install', _with_cuda())}"
        elif "cudnn" in libraries and not libraries["cudnn"].version:
            yield f"to get cudnn: {_pip('install', _with_cuda())}"


def _tensorrt(one: Library, driver_cuda: int) -> Iterator[str]:
    """Yield what installs TensorRT, or exchanges one that is for a newer CUDA than the driver."""
    name = one.name.replace("_", "-")
    built_for = system_info.built_for(one.name)
    wanted = system_info.requirement(f"{name}-cu12") if driver_cuda == 12 else one.requirement
    if driver_cuda and built_for > driver_cuda:
        parts = [f"{name}-cu{built_for}{end}" for end in ("", "-libs", "-bindings")]
        fit = f"{name} is for CUDA {built_for}, the driver for {driver_cuda}; to exchange it"
        yield f"{fit}: {_pip('uninstall', '-y', name, *parts)} && {_pip('install', wanted)}"
    elif not one.version:
        yield f"to get {one.name}: {_install(replace(one, requirement=wanted))}"


def _install(one: Library) -> str:
    # What is installed and does not load would be left as it is.
    again = [] if one.problem == system_info.ABSENT else ["--force-reinstall"]
    return _pip("install", *again, one.requirement)


def _with_cuda() -> str:
    name = "onnxruntime-gpu"
    return system_info.requirement(name).replace(name, f"{name}[cuda,cudnn]", 1)


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", *arguments])
