"""Describe what a figure depends on: processor, memory, versions, commit; never who or where."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cpuinfo
import torch

from deepmask.runtime.engines.threads import cores_available

#: Instruction sets that decide how fast matrices are multiplied.
FLAGS = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "sve", "i8mm", "bf16"),
)
LIBRARIES = (
    *("numpy", "opencv-python-headless", "pillow", "rlemasklib", "pycocotools"),
    *("onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch"),
)

_ROOT = Path(__file__).resolve().parents[1]


def describe_machine() -> dict[str, Any]:
    """Return processor, memory, GPU if any, and library versions; `machine` is a name for them."""
    cpu = cpuinfo.get_cpu_info()
    cores, brand = cores_available(), str(cpu.get("brand_raw", "unknown processor"))
    memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    flags = [flag for flag in FLAGS if flag in cpu.get("flags", [])]
    model = f"family {cpu.get('family')} model {cpu.get('model')}"
    described = {
        "machine": f"{cores}-core {brand} ({model}), {memory} GiB",
        "cores": cores,
        "cpu": brand,
        "cpu_model": model,
        "flags": flags,
        "memory_gib": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    return described


def describe_commit() -> dict[str, Any]:
    """Return the commit and whether files differ from it; nothing outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"id": commit, "dirty": bool(_git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
