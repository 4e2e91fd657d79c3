"""What there is on this machine, asked without risk: nothing here raises or loads a library.

Libraries are imported by another process, so that one which crashes is only reported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds that a library may take to load, or a model to run; the first CUDA start is slow.
PATIENCE = 120
_PROJECT = "deepmask"
#: Instructions that make int8 fast, as Linux names them.
_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
_IMPORT = "import sys, importlib; print(importlib.import_module(sys.argv[1]).__version__)"
_PROVIDERS = "import onnxruntime; print(*onnxruntime.get_available_providers())"


@dataclass(frozen=True)
class Library:
    """A Python library: its version, "" if it cannot be used; what is wrong; what installs it."""

    name: str
    version: str
    problem: str
    requirement: str


def library(module: str, requirement: str) -> Library:
    """Look for a library and import it in another process."""
    try:
        found = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        return Library(module, "", "not installed", requirement)
    output, problem = ask([sys.executable, "-c", _IMPORT, module])
    if problem:
        return Library(module, "", f"installed, but does not load: {problem}", requirement)
    return Library(module, output, "", requirement)


def requirement(name: str) -> str:
    """What pip must be asked for: this project's own requirement on `name`, or just the name."""
    try:
        lines = importlib.metadata.requires(_PROJECT) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    for line in lines:
        wanted = line.split(";")[0].strip()
        if re.split(r"[^A-Za-z0-9._-]", wanted)[0].lower() == name.lower():
            return wanted.replace(" ", "")
    return name


def project_version() -> str:
    """This project's version."""
    try:
        return importlib.metadata.version(_PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def providers() -> tuple[str, ...]:
    """ONNX Runtime's execution providers; none where it does not load."""
    output, problem = ask([sys.executable, "-c", _PROVIDERS])
    return () if problem else tuple(output.split())


def gpus() -> tuple[list[str], str]:
    """A line for each NVIDIA GPU: name, driver, memory; or none, and why."""
    if shutil.which("nvidia-smi") is None:
        return [], "nvidia-smi is not there, so no NVIDIA driver"
    query = "name,driver_version,memory.free,memory.total"
    output, problem = ask(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"])
    if problem:
        return [], f"nvidia-smi: {problem}"
    lines = []
    for row in output.splitlines():
        fields = [field.strip() for field in row.split(",")]
        if len(fields) == 4:
            lines.append(f"{fields[0]}, driver {fields[1]}, {fields[2]} of {fields[3]} free")
    return lines, "" if lines else "nvidia-smi lists none"


def cpu() -> str:
    """Cores this process may use, and instructions for int8."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    flags = set(_read("/proc/cpuinfo").split())
    fast = [name for name in _INT8 if name in flags]
    return f"{platform.machine()}, {cores} core{'s' * (cores > 1)}" + (
        f", int8 instructions {' '.join(fast)}" if fast else ""
    )


def memory() -> str:
    """Memory that programs can still have, as Linux tells it."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE))
    if not {"MemAvailable", "MemTotal"} <= set(found):
        return "unknown"
    free, total = (int(found[key]) / 2**20 for key in ("MemAvailable", "MemTotal"))
    return f"{free:.1f} of {total:.1f} GiB free"


def ask(command: Sequence[str]) -> tuple[str, str]:
    """Run a command: what it printed, and what went wrong in one line ("" if nothing did)."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {PATIENCE} s"
    except OSError as error:
        return "", error.strerror or type(error).__name__
    if done.returncode < 0:
        return "", f"crashed ({_signal_name(-done.returncode)})"
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return "", said[-1].strip()[:200] if said else f"exit code {done.returncode}"
    return done.stdout.strip(), ""


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
