"""`python -m tests.stand_in.calls FLAVOUR [FOLDER LIBRARY...]`: all calls of TensorRT.

The project's code builds and runs plans with the bindings in FOLDER, for which LIBRARY... stand in.
Fails where a call does not fit, or where the code names something that was not called here.
"""

from __future__ import annotations

import ast
import ctypes
import importlib
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deepmask.runtime.engines import tensorrt
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.build import build_plan, check_gpu
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.engines.tensorrt.flavours import FLAVOURS, Library, Messages, _logger
from deepmask.runtime.engines.tensorrt.profile import Range
from deepmask.runtime.model.folder import load_manifest
from tests.runtime.fake_gpu import FAKE, FakeDevice
from tests.runtime.square_model import write_square_model
from tests.stand_in.signatures import CheckedModule, names_of

IMAGE = (1, 3, 64, 64)
#: For TensorRT for RTX alone.
_PORTABLE = {"create_runtime_config", "set_execution_context_allocation_strategy"}


def call_all(flavour: str, module: ModuleType) -> set[str]:
    """Build and run with the module; returns names that the code has, and that were not called."""
    shapes = {"image": IMAGE, "features": (1, 256, 4, 4), "locations": (5, 2)}
    answers: dict[str, Any] = {
        "name": "image",
        "shape": (1, 3, -1, -1),
        "num_optimization_profiles": 1,
        "get_tensor_profile_shape": lambda name, index: [shapes[name]] * 3,
        "get_tensor_shape": lambda name: (1, 1, 1, 1),
        "get_tensor_dtype": module.DataType.HALF,
        "serialize": b"kernels",
    }
    checked = CheckedModule(module, answers)
    messages = Messages()
    known: Any = checked
    library = Library(known, flavour, str(module.__version__), _logger(module, messages), messages)
    portable = FLAVOURS[flavour].portable
    targets = ["8.9"] if portable else []
    profile = {"image": Range(IMAGE, IMAGE, IMAGE)}
    check_gpu(library, FAKE)
    for tf32 in (True, False):
        build_plan(library, b"graph", "trunk", [profile], targets, tf32=tf32)
    answers["parse"] = False
    with pytest.raises(EngineError, match="refuses graph trunk: text text: text"):
        build_plan(library, b"graph", "trunk", [profile], targets)
    with tempfile.TemporaryDirectory() as place:
        folder = write_square_model(Path(place, "squares"))
        manifest = load_manifest(folder)
        plans = dict.fromkeys((stage.name for stage in manifest.stages), b"plan")
        cache = Path(place) if portable else None
        for _ in range(2):  # the second takes the kernels of the first
            with TensorRTEngine(manifest, plans, library, FakeDevice(), cache) as engine:
                image = engine.upload(np.zeros(IMAGE, np.float32))
                engine.run("trunk", {"image": image})
                answers["update_device_memory_size_for_shapes"] = 0
                engine.fetch(image)
    own = set() if portable else _PORTABLE
    return named_in_code() & names_of(module) - checked.seen.keys() - own


def named_in_code() -> set[str]:
    """Every attribute of several words that the engine's modules name."""
    trees = (ast.parse(path.read_text()) for path in Path(tensorrt.__file__).parent.glob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return {name for name in names if name.islower() and "_" in name.strip("_")}


if __name__ == "__main__":
    flavour, *bindings = sys.argv[1:]
    for path in bindings[1:]:
        ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    if bindings:
        sys.path.insert(0, bindings[0])
    name = "tensorrt_bindings" if bindings else FLAVOURS[flavour].module
    missed = call_all(flavour, importlib.import_module(name))
    assert not missed, f"named in the code, and not called here: {sorted(missed)}"
