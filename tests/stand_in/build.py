"""Build the stand-in driver, and the real pycuda for it, with the system's compiler.

The headers are those of NVIDIA's wheel. What was fetched or built is kept in the user's cache:
pycuda takes minutes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

_DRIVER = Path(__file__).with_name("driver.c")
_BINDINGS = Path(__file__).with_name("bindings.c")
#: What TensorRT's bindings are linked to.
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_HEADERS = "nvidia-cuda-runtime"
_PYCUDA = "pycuda>=2024.1"
#: Quickly compiled; without curand, which is 77 MB; what the stand-in lacks is missed when called.
_SETTINGS = """
CUDA_ROOT = {root!r}
CUDA_INC_DIR = [{include!r}, {root!r}]
CUDA_ENABLE_CURAND = False
CUDADRV_LIB_DIR = [{library!r}]
CXXFLAGS = ["-O0", "-g0", "-w"]
LDFLAGS = ["-Wl,-z,lazy"]
"""
#: A header that pycuda asks for and the wheel lacks.
_PROFILER = """
#include <cuda.h>
typedef enum { CU_OUT_KEY_VALUE_PAIR, CU_OUT_CSV } CUoutput_mode;
extern "C" CUresult cuProfilerInitialize(const char *, const char *, CUoutput_mode);
extern "C" CUresult cuProfilerStart();
extern "C" CUresult cuProfilerStop();
"""


class CannotBuild(Exception):
    """What is missing on this machine, in one line."""


def environment() -> dict[str, str]:
    """Return an environment in which CUDA is the stand-in, and pycuda is there.

    Raises `CannotBuild`.
    """
    _require("gcc", "g++")
    headers = _kept("headers", _HEADERS, lambda folder: _install(_HEADERS, folder))
    [include] = headers.rglob("cuda.h")
    driver = _kept("driver", _DRIVER.read_text(), lambda folder: _compile(include.parent, folder))
    pycuda = _kept(
        "pycuda", _PYCUDA, lambda folder: _compile_pycuda(include.parent, driver, folder)
    )
    paths = {"LD_LIBRARY_PATH": driver, "PYTHONPATH": pycuda}
    joined = {
        name: os.pathsep.join(filter(None, [str(path), os.environ.get(name)]))
        for name, path in paths.items()
    }
    return {**os.environ, **joined}


def bindings(requirement: str, major: int) -> list[str]:
    """Return a folder with TensorRT's Python bindings, and libraries that stand in for its own.

    `requirement` is of tensorrt-cu12-bindings, `major` its version. Raises `CannotBuild`.
    """
    _require("gcc")
    wheel = f"tensorrt-cu12-bindings{requirement}"
    folder = _kept("bindings", wheel, lambda folder: _install(wheel, folder))
    made_of = f"{major} {_BINDINGS.read_text()}"
    libraries = _kept("libraries", made_of, lambda folder: _compile_libraries(major, folder))
    return [str(folder), *map(str, sorted(libraries.iterdir()))]


def _require(*compilers: str) -> None:
    if sys.platform != "linux":
        raise CannotBuild("the stand-in driver is for Linux")
    for compiler in compilers:
        if shutil.which(compiler) is None:
            raise CannotBuild(f"{compiler} is not there to compile the stand-in driver")


def _kept(name: str, made_of: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills, once for this Python and what it is made of."""
    key = hashlib.sha256(f"{sysconfig.get_config_var('SOABI')} {made_of}".encode()).hexdigest()[:12]
    folder = platformdirs.user_cache_path("deepmask-trt-tests") / f"{name}-{key}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            make(Path(place, "made"))
            try:
                Path(place, "made").rename(folder)
            except OSError:  # another process was quicker
                if not folder.is_dir():
                    raise
    return folder


def _install(requirement: str, folder: Path) -> None:
    _pip("install", "--no-deps", "--only-binary", ":all:", "--target", str(folder), requirement)


def _compile_libraries(major: int, folder: Path) -> None:
    folder.mkdir()
    for name in _LIBRARIES:
        path = folder / f"lib{name}.so.{major}"
        options = ["-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", str(path)]
        _run(["gcc", *options, str(_BINDINGS)], {})


def _compile(include: Path, folder: Path) -> None:
    folder.mkdir()
    options = ["-shared", "-fPIC", "-O1", "-g", "-Wall", "-Werror", "-Wl,-soname,libcuda.so.1"]
    out = ["-o", str(folder / "libcuda.so.1"), str(_DRIVER), "-lpthread", "-ldl"]
    _run(["gcc", *options, "-I", str(include), *out], {})
    (folder / "libcuda.so").symlink_to("libcuda.so.1")


def _compile_pycuda(include: Path, driver: Path, folder: Path) -> None:
    """Take pycuda's source from PyPI; its settings are read from a file in the home folder."""
    with tempfile.TemporaryDirectory() as home:
        Path(home, "cudaProfiler.h").write_text(_PROFILER)
        settings = _SETTINGS.format(root=home, include=str(include), library=str(driver))
        Path(home, ".aksetup-defaults.py").write_text(settings)
        # pip is not to keep this wheel: it is no pycuda for users.
        source = ["--no-cache-dir", "--no-deps", "--no-binary", "pycuda"]
        _pip("wheel", *source, "-w", home, _PYCUDA, HOME=home)
        [wheel] = Path(home).glob("pycuda-*.whl")
        _pip("install", "--target", str(folder), str(wheel))


def _pip(*arguments: str, **environ: str) -> None:
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments], environ)


def _run(command: Sequence[str], environ: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise CannotBuild(f"{' '.join(command)[:200]} failed: {said}")
