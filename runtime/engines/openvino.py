"""OpenVINO, on the CPU: with int8 or bfloat16 matrix instructions the fastest way without a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Buffer, Engine, EngineError, check_names
from deepmask.runtime.engines.host_memory import return_freed, window_bytes
from deepmask.runtime.engines.threads import cores_available
from deepmask.runtime.errors import one_line
from deepmask.runtime.model.manifest import Manifest, Stage

# The import would send a note to OpenVINO's makers; it does without where this package is missing.
_telemetry = sys.modules.get("openvino_telemetry")
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
try:
    import openvino as ov
    from openvino.frontend import FrontEndManager
finally:
    del sys.modules["openvino_telemetry"]
    if _telemetry is not None:
        sys.modules["openvino_telemetry"] = _telemetry

FLOAT32, BFLOAT16 = "f32", "bf16"
_CPU = "CPU"
#: Number of kernels, each for one layer at one shape, that a graph keeps: enough for two or three
#: picture sizes. Without a limit they grow with every new size.
_KERNELS = 1000


def missing_bfloat16() -> str:
    """Say why this CPU cannot compute in bfloat16; "" if it can."""
    if "BF16" in ov.Core().get_property(_CPU, "OPTIMIZATION_CAPABILITIES"):
        return ""
    return "this CPU has no bfloat16 instructions (AVX-512 BF16 or AMX)"


class OpenVINOEngine(Engine):
    """The stages, compiled for the CPU; calls run one after another, each on all `threads`."""

    waiting_bytes = 0

    def __init__(self, manifest: Manifest, folder: Path, arithmetic: str, threads: int) -> None:
        """Load the stages; see `open_engine`.

        `arithmetic` is what layers of float32 compute in: `FLOAT32`, or `BFLOAT16`, which keeps 8
        of 24 digits in products and sums them in float32. Inputs and outputs are float32 in both.
        """
        self._stages = {stage.name: stage for stage in manifest.stages}
        count = threads or cores_available()
        core = ov.Core()
        self._compiled = {
            name: _compile(core, folder / stage.file, stage, arithmetic, count)
            for name, stage in self._stages.items()
        }
        self.window_bytes = window_bytes(folder / one.file for one in manifest.window_stages)
        return_freed()
        version = ".".join(ov.__version__.split("-")[0].split(".")[:3])
        where = f"CPU, {count} thread{'s' * (count > 1)}"
        where += ", bfloat16" if arithmetic == BFLOAT16 else ""
        self.description = f"openvino {version} on {where}"

    def send(self, buffer: Buffer) -> ov.Tensor:
        return ov.Tensor(buffer.array, shared_memory=True)

    def run(self, stage: str, inputs: Mapping[str, ov.Tensor]) -> dict[str, ov.Tensor]:
        # A request of its own for each run, with every tensor set: what a request allocates itself
        # may be memory that an earlier one was given.
        compiled = self._compiled[stage]
        request = compiled.create_infer_request()
        outputs = self._stages[stage].outputs
        made = {name: _empty(compiled, name, spec.dtype) for name, spec in outputs.items()}
        try:
            for name in self._stages[stage].inputs:
                request.set_tensor(name, inputs[name])
            for name, tensor in made.items():
                request.set_tensor(name, tensor)
            request.infer(share_outputs=True)  # else every output is copied, for nobody
        except RuntimeError as error:
            raise EngineError(f"openvino failed in stage {stage}: {_said(error)}") from error
        return made

    def shape(self, tensor: ov.Tensor) -> tuple[int, ...]:
        return tuple(tensor.shape)

    @contextmanager
    def fetched(self, tensors: Sequence[ov.Tensor]) -> Iterator[list[npt.NDArray[np.float32]]]:
        yield [tensor.data for tensor in tensors]

    def close(self) -> None:
        self._compiled.clear()


def _compile(
    core: ov.Core, path: Path, stage: Stage, arithmetic: str, threads: int
) -> ov.CompiledModel:
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": arithmetic,
        "ENABLE_CPU_PINNING": False,  # other programs may be bound to the same cores
        "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
    }
    try:
        # `read_model` would try a file that is no ONNX in every other format it knows.
        reader = FrontEndManager().load_by_framework("onnx")
        compiled = core.compile_model(reader.convert(reader.load(str(path))), _CPU, options)
        found = [one.any_name for one in compiled.inputs]
        made = [one.any_name for one in compiled.outputs]
    except Exception as error:  # openvino's errors share no base class
        raise EngineError(f"{path}: openvino cannot load it: {_said(error)}") from error
    check_names(path, stage, found, made)
    return compiled


def _empty(compiled: ov.CompiledModel, name: str, dtype: str) -> ov.Tensor:
    """Return a tensor for an output; the graph gives it its size if that is not always the same."""
    kind = {"float32": ov.Type.f32, "int64": ov.Type.i64}[dtype]
    shape = compiled.output(name).partial_shape
    return ov.Tensor(kind, shape.to_shape() if shape.is_static else ov.Shape([0] * len(shape)))


def _said(error: Exception) -> str:
    """Return OpenVINO's message without the places in its sources, which come first."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(("Exception from ", "Check "))]
    return one_line(" ".join(own or lines))
