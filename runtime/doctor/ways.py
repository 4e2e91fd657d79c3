"""List the ways in which a model can be run on this machine, for the self-test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from deepmask.runtime.doctor.self_test import Way
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.choose import ENGINES, TENSORRT, choose
from deepmask.runtime.engines.tensorrt.graphs import half_stages
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.predict.deepmask import DeepMask


def on_cpu(folder: Path) -> DeepMask:
    """Load a model on ONNX Runtime on the CPU, which the others are compared with."""
    return DeepMask.load(folder, engine="onnxruntime", device="cpu")


def ways(folder: Path, engine: str, device: str, cache: Path | None) -> list[Way]:
    """Return each engine on each device that is there, on a GPU with fp16, TF32 and neither.

    `engine` and `device` leave others out, "auto" none. Raises `EngineError` where nothing is left.
    """
    manifest = load_manifest(folder)
    names = [name for name in ENGINES if name != "auto"] if engine == "auto" else [engine]
    devices = ["cuda", "cpu"] if device == "auto" else [device]
    found = []
    problem: EngineError | None = None
    for name in names:
        for where in devices:
            try:
                choose(name, where, manifest.precision)
            except EngineError as error:
                problem = error
                continue
            forms: list[tuple[str, ...]] = [()]
            if where != "cpu":
                halved = name in TENSORRT and half_stages(manifest)[0]
                forms = [(), *([("fp16",)] if halved else []), ("fp16", "tf32")]
            found += [_way(folder, name, where, cache, off) for off in forms]
    if not found and problem is not None:
        raise problem
    return found


def _way(folder: Path, engine: str, device: str, cache: Path | None, off: tuple[str, ...]) -> Way:
    exact = "".join(f", no {name.upper()}" for name in off[-1:])
    load = partial(
        DeepMask.load,
        folder,
        engine=engine,
        device=device,
        cache=cache,
        fp16="fp16" not in off,
        tf32="tf32" not in off,
    )
    process = (str(folder), engine, device, str(cache or ""), *off)
    return Way(f"{engine} on {device}{exact}", load, process, engine.endswith("-bf16"))
