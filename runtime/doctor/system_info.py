"""Describe this machine: processor, memory, GPUs, libraries. Nothing here raises.

Libraries are imported in another process, so that one that crashes is only reported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from deepmask.runtime import distribution
from deepmask.runtime.engines.threads import cores_available

#: Seconds that a library may take to load, or a model to run; the first CUDA start is slow.
PATIENCE = 120
#: The folder of pyproject.toml, for a checkout.
_CHECKOUT = Path(__file__).resolve().parents[2]
#: Instructions that make int8 fast, as Linux names them.
_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
_IMPORT = """
import importlib, importlib.metadata, sys
sys.modules["openvino_telemetry"] = None  # with it, openvino's import is told to its makers
module = importlib.import_module(sys.argv[1])
print(getattr(module, "__version__", None) or importlib.metadata.version(sys.argv[2]))
"""
#: Loads the first shared library that is there, and asks it for its version.
_LOAD = """
import ctypes, os, sys
function, *names = sys.argv[1:]
for name in names:
    try:
        number = ctypes.CDLL(name)[function]()
    except OSError:
        if name == names[-1] or os.path.exists(name):
            raise
    else:
        print(f"{number // 10000}.{number // 100 % 100}.{number % 100}, {name}")
        break
"""
_PROVIDERS = "import onnxruntime; print(*onnxruntime.get_available_providers())"
#: The problem of a library that is not there at all.
ABSENT = "not installed"


@dataclass(frozen=True)
class Library:
    """A library that was looked for.

    version      "" if it cannot be used; `problem` then says why.
    requirement  what pip must be asked for.
    for_gpu      whether it is of use with an NVIDIA GPU only.
    """

    name: str
    version: str
    problem: str
    requirement: str
    for_gpu: bool = False


def library(module: str, requirement: str, for_gpu: bool = False) -> Library:
    """Look for a library, and import it or a part (`pycuda.driver`) in another process."""
    name = module.partition(".")[0]
    if _spec(name) is None:
        return Library(name, "", ABSENT, requirement, for_gpu)
    distribution = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
    output, problem = ask([sys.executable, "-c", _IMPORT, module, distribution])
    tried = "was not tried" if _no_interpreter([sys.executable]) else "does not load"
    told = f"installed, but {tried}: {problem}" if problem else ""
    return Library(name, output, told, requirement, for_gpu)


def shared_library(name: str, function: str, sonames: Sequence[str], package: str) -> Library:
    """Look for one of NVIDIA's shared libraries in the folder of a pip package, then in the system.

    `function` returns its version as a number, 91002 for 9.10.2.
    """
    spec = _spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    folders = [folder for place in places for folder in (Path(place), Path(place, "lib"))]
    names = [str(folder / soname) for soname in sonames for folder in folders]
    output, problem = ask([sys.executable, "-c", _LOAD, function, *names, *sonames])
    if f"{sonames[-1]}: cannot open shared object file" in problem:
        problem = "not found"
    return Library(name, output, problem, "", for_gpu=True)


def requirement(name: str) -> str:
    """Return this project's own requirement on `name`, for pip; just the name if it has none."""
    try:
        lines = importlib.metadata.requires(distribution.NAME) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    for line in lines:
        wanted = line.split(";")[0].strip()
        if re.split(r"[^A-Za-z0-9._-]", wanted)[0].lower() == name.lower():
            return wanted.replace(" ", "")
    return name


def project_version() -> str:
    """Return this project's version, or the command that installs this checkout."""
    try:
        return importlib.metadata.version(distribution.NAME)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed: pip install -e {shlex.quote(str(_CHECKOUT))}"


def providers() -> tuple[str, ...]:
    """Return ONNX Runtime's execution providers; none if it does not load."""
    output, problem = ask([sys.executable, "-c", _PROVIDERS])
    return () if problem else tuple(output.split())


def gpus() -> tuple[list[str], str]:
    """Return a line for each NVIDIA GPU (name, driver, memory); if there is none, the reason."""
    if shutil.which("nvidia-smi") is None:
        return [], "nvidia-smi is not there, so no NVIDIA driver"
    query = "name,driver_version,memory.free,memory.total"
    output, problem = ask(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"])
    if problem:
        return [], f"nvidia-smi: {problem}"
    rows = [[field.strip() for field in row.split(",")] for row in output.splitlines()]
    lines = [f"{r[0]}, driver {r[1]}, {r[2]} of {r[3]} free" for r in rows if len(r) == 4]
    return lines, "" if lines else "nvidia-smi lists none"


def driver_cuda(lines: Sequence[str]) -> int:
    """Return the major version of CUDA that the driver in lines of `gpus` runs; 0: not known."""
    found = re.search(r", driver (\d+)\.", lines[0]) if lines else None
    return 0 if found is None else 13 if int(found[1]) >= 580 else 12


def built_for(package: str) -> int:
    """Return the major version of CUDA that a pip package of NVIDIA's is for; 0: not known."""
    for major in (12, 13):
        for part in ("", "_libs", "_bindings"):
            with suppress(importlib.metadata.PackageNotFoundError):
                importlib.metadata.version(f"{package}_cu{major}{part}")
                return major
    return 0


def is_there(module: str) -> bool:
    """Return whether a module could be imported, without doing it."""
    return _spec(module) is not None


def cpu() -> str:
    """Describe the cores that this process may use, and their instructions for int8."""
    cores = cores_available()
    flags = set(_read("/proc/cpuinfo").split())
    fast = [name for name in _INT8 if name in flags]
    instructions = f", int8 instructions {' '.join(fast)}" if fast else ""
    return f"{platform.machine()}, {cores} core{'s' * (cores > 1)}{instructions}"


def memory() -> str:
    """Describe how much memory is free, as Linux tells it."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE))
    if not {"MemAvailable", "MemTotal"} <= set(found):
        return "unknown"
    free, total = (int(found[key]) / 2**20 for key in ("MemAvailable", "MemTotal"))
    return f"{free:.1f} of {total:.1f} GiB free"


def ask(command: Sequence[str], patience: float = PATIENCE) -> tuple[str, str]:
    """Run a command; return what it printed, and what went wrong in one line ("" for nothing)."""
    if problem := _no_interpreter(command):
        return "", problem
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {patience:g} s"
    except OSError as error:
        return "", f"{command[0]} cannot be started ({error.strerror or type(error).__name__})"
    if done.returncode < 0:
        return "", f"crashed ({_signal_name(-done.returncode)})"
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return "", said[-1].strip()[:200] if said else f"exit code {done.returncode}"
    return done.stdout.strip(), ""


def _no_interpreter(command: Sequence[str]) -> str:
    """Say why no other Python can be started, where the command would be one."""
    if command[0] and command[0] != sys.executable:
        return ""
    if not sys.executable:
        return "the Python that runs this does not know its own file, so no other can be started"
    if getattr(sys, "frozen", False):
        return "this is a frozen program, which holds no Python that could be started"
    if not Path(sys.executable).is_file():
        return f"{sys.executable} is not there, so no other Python can be started"
    return ""


def _spec(package: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
