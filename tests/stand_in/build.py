"""Build the stand-in driver, and the real pycuda for it, with the system's compiler.

The headers are those of NVIDIA's wheel. What was fetched or built is kept in the user's cache:
pycuda takes minutes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import platformdirs

_DRIVER = Path(__file__).with_name("driver.c")
_BINDINGS = Path(__file__).with_name("bindings.c")
#: What TensorRT's bindings are linked to.
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_HEADERS = "nvidia-cuda-runtime"
_PYCUDA = "pycuda>=2024.1"
#: Quickly compiled, and without curand, which is 77 MB.
_SETTINGS = """
CUDA_ROOT = {root!r}
CUDA_INC_DIR = [{include!r}, {root!r}]
CUDA_ENABLE_CURAND = False
CUDADRV_LIB_DIR = [{root!r}]
CXXFLAGS = ["-O0", "-g0", "-w"]
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
    [include] = (path.parent for path in headers.rglob("cuda.h"))
    pycuda = _kept("pycuda", _PYCUDA, lambda folder: _compile_pycuda(include, folder))
    made_of = f"{_DRIVER.read_text()} {pycuda.name}"
    driver = _kept("driver", made_of, lambda folder: _compile_driver(include, pycuda, folder))
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
        _run(["gcc", *options, str(_BINDINGS)])


def _compile_driver(include: Path, pycuda: Path, folder: Path) -> None:
    """Compile the driver, and what it lacks of what pycuda is linked to, which Python asks for."""
    folder.mkdir()
    library, lacking = folder / "libcuda.so.1", folder / "lacking.c"
    options = ["-shared", "-fPIC", "-O1", "-g", "-Wall", "-Werror", f"-Wl,-soname,{library.name}"]
    compile_driver = ["gcc", *options, "-I", str(include), "-o", str(library), str(_DRIVER)]
    _run(compile_driver)
    [module] = pycuda.glob("pycuda/_driver.*.so")
    names = sorted(_symbols("--undefined-only", module) - _symbols("--defined-only", library))
    stubs = [f'int {name}(void) {{ return stand_in_missing("{name}"); }}' for name in names]
    lacking.write_text("\n".join(["int stand_in_missing(const char *);", *stubs, ""]))
    _run([*compile_driver, str(lacking)])


def _symbols(which: str, library: Path) -> set[str]:
    """Return the names of the driver's functions in a library."""
    lines = _run(["nm", "-D", which, str(library)]).splitlines()
    return {line.split()[-1] for line in lines if re.fullmatch(r"cu[A-Z]\w+", line.split()[-1])}


def _compile_pycuda(include: Path, folder: Path) -> None:
    """Take pycuda's source from PyPI; its settings are read from a file in the home folder."""
    with tempfile.TemporaryDirectory() as home:
        Path(home, "cudaProfiler.h").write_text(_PROFILER)
        empty = ["gcc", "-shared", "-Wl,-soname,libcuda.so.1", "-xc", os.devnull]
        _run([*empty, "-o", str(Path(home, "libcuda.so"))])
        settings = _SETTINGS.format(root=home, include=str(include))
        Path(home, ".aksetup-defaults.py").write_text(settings)
        # pip is not to keep this wheel: it is no pycuda for users.
        source = ["--no-cache-dir", "--no-deps", "--no-binary", "pycuda"]
        _pip("wheel", *source, "-w", home, _PYCUDA, HOME=home)
        [wheel] = Path(home).glob("pycuda-*.whl")
        _pip("install", "--target", str(folder), str(wheel))


def _pip(*arguments: str, **environ: str) -> None:
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments], environ)


def _run(command: Sequence[str], environ: Mapping[str, str] = MappingProxyType({})) -> str:
    """Run a command; return what it printed. Raises `CannotBuild` if it fails."""
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
    return done.stdout
