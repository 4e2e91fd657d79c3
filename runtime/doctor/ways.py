"""List the ways in which a model can be run on this machine, for the self-test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from deepmask.runtime.doctor.self_test import Way
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.choose import ENGINES, choose
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.predict.deepmask import DeepMask


def on_cpu(folder: Path) -> DeepMask:
    """Load a model on ONNX Runtime on the CPU, which the others are compared with."""
    return DeepMask.load(folder, engine="onnxruntime", device="cpu")


def ways(folder: Path, engine: str, device: str, cache: Path | None) -> list[Way]:
    """Return each engine on each device that is there, on a GPU with TF32 and without.

    `engine` and `device` leave others out, "auto" none. Raises `EngineError` where nothing is left.
    """
    precision = load_manifest(folder).precision
    names = [name for name in ENGINES if name != "auto"] if engine == "auto" else [engine]
    devices = ["cuda", "cpu"] if device == "auto" else [device]
    found = []
    problem: EngineError | None = None
    for name in names:
        for where in devices:
            try:
                choose(name, where, precision)
            except EngineError as error:
                problem = error
                continue
            for tf32 in (True, False) if where != "cpu" else (True,):
                found.append(_way(folder, name, where, cache, tf32))
    if not found and problem is not None:
        raise problem
    return found


def _way(folder: Path, engine: str, device: str, cache: Path | None, tf32: bool) -> Way:
    load = partial(DeepMask.load, folder, engine=engine, device=device, cache=cache, tf32=tf32)
    exact = "" if tf32 else ", no TF32"
    process = (str(folder), engine, device, str(cache or ""), str(int(tf32)))
    return Way(f"{engine} on {device}{exact}", load, process)
