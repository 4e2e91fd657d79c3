"""TensorRT as far as the runtime uses it: graphs are run by ONNX Runtime.

The GPU is a fake one or the stand-in driver's: both give the same few ways to its memory. A "plan"
is JSON that names the ONNX file and the profiles. Each run first fills the scratch memory it was
given with garbage: if that memory is also a tensor's, results are wrong.
"""

from __future__ import annotations

import base64
import functools
import json
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from deepmask import DeepMask
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.engines.tensorrt.flavours import Library, Messages
from deepmask.runtime.engines.tensorrt.graphs import stage_graph, view_stage
from deepmask.runtime.engines.tensorrt.profile import profiles
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Manifest
from tests.runtime.fake_builder import ComputeCapability
from tests.runtime.fake_gpu import GARBAGE, Array, FakeDevice

Picture = npt.NDArray[np.uint8]
Strategy = Enum("Strategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED")
_TYPES: dict[str, Any] = {
    **{"tensor(float)": np.float32, "tensor(float16)": np.float16},
    **{"tensor(int64)": np.int64, "tensor(uint8)": np.uint8},
}


#: Addresses and sizes in bytes.
Places = Sequence[tuple[int, int]]


class Gpu(Protocol):
    """What TensorRT sees of a GPU. Addresses must be allocated, and contexts current."""

    def note(self, kind: str) -> None: ...
    def has_stream(self, handle: int) -> bool: ...
    def holds(self, address: int, size: int) -> bool: ...
    def read(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array: ...
    def write(self, address: int, source: Array) -> None: ...
    def queue(self, handle: int, work: Callable[[], None], places: Places) -> None:
        """Do `work` when the stream gets there; `places` must be the same memory then."""


@functools.lru_cache(8)
def _session(graph: str | bytes, changed: float) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class FakeEngine:
    def __init__(self, device: Gpu, graph: str | bytes, shapes: list[dict[str, Any]]) -> None:
        changed = Path(graph).stat().st_mtime if isinstance(graph, str) else 0.0
        self.session = _session(graph, changed)
        self.device = device
        self.inputs = {value.name: _TYPES[value.type] for value in self.session.get_inputs()}
        self.outputs = {value.name: _TYPES[value.type] for value in self.session.get_outputs()}
        self.shapes = shapes
        self.num_optimization_profiles = len(shapes)
        self._shapes_made: dict[Any, dict[str, tuple[int, ...]]] = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        made = self.session.run(list(self.outputs), dict(inputs))
        return dict(zip(self.outputs, made, strict=True))

    def _made_of(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for inputs of these."""
        key = tuple(sorted(shapes.items()))
        if key not in self._shapes_made:
            zeros = {name: np.zeros(shape, self.inputs[name]) for name, shape in shapes.items()}
            self._shapes_made[key] = {name: a.shape for name, a in self.run(zeros).items()}
        return self._shapes_made[key]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.outputs[name]

    def get_tensor_profile_shape(self, name: str, index: int) -> Any:
        return self.shapes[index][name]

    def get_device_memory_size_for_profile_v2(self, index: int) -> int:
        return needed({name: high for name, (_, _, high) in self.shapes[index].items()})

    def create_runtime_config(self) -> FakeRuntimeConfig:
        return FakeRuntimeConfig()

    def create_execution_context(self, how: Strategy | FakeRuntimeConfig) -> FakeContext:
        config = how if isinstance(how, FakeRuntimeConfig) else FakeRuntimeConfig(how)
        assert config.strategy is Strategy.USER_MANAGED
        return FakeContext(self, config.cache)


class FakeRuntimeConfig:
    def __init__(self, strategy: Strategy = Strategy.STATIC) -> None:
        self.strategy = strategy
        self.cache: FakeRuntimeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> FakeRuntimeCache:
        return FakeRuntimeCache()

    def set_runtime_cache(self, cache: FakeRuntimeCache) -> bool:
        self.cache = cache
        return True


class FakeRuntimeCache:
    """See `IRuntimeCache`: the numbers of the profiles that kernels were compiled for."""

    #: What a cache must have been made on to be taken.
    ENVIRONMENT = "this one"

    def __init__(self) -> None:
        self.compiled: set[int] = set()

    def serialize(self) -> memoryview:
        found = {"environment": self.ENVIRONMENT, "compiled": sorted(self.compiled)}
        return memoryview(json.dumps(found).encode())

    def deserialize(self, blob: bytes) -> bool:
        found = json.loads(blob)
        if found["environment"] != self.ENVIRONMENT:
            return False
        self.compiled |= set(found["compiled"])
        return True


class FakeContext:
    """See `IExecutionContext`: what was set stays set until it is set again.

    But for its memory: that is laid out for the shapes when its size is asked for, and must be lent
    after that. Other shapes or another profile undo both.
    """

    def __init__(self, engine: FakeEngine, cache: FakeRuntimeCache | None = None) -> None:
        self.engine = engine
        self.cache = cache
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.found: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.laid_out: int | None = None
        self.scratch: tuple[int, int] | None = None

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        self.shapes = {}
        self.laid_out = self.scratch = None
        return index < self.engine.num_optimization_profiles and self._device.has_stream(stream)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.shapes[self.profile][name]
        if self.shapes.get(name) != tuple(shape):
            self.laid_out = self.scratch = None
        self.shapes[name] = tuple(shape)
        return all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self.engine.inputs if name not in self.shapes]
        if not missing:
            self.found = self.engine._made_of(self.shapes)
        return missing

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.found[name]

    def update_device_memory_size_for_shapes(self) -> int:
        assert set(self.shapes) == set(self.engine.inputs), "all shapes must be known before"
        self.laid_out, self.scratch = needed(self.shapes), None
        return self.laid_out

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address % 256 == 0 and self._device.holds(address, 1)

    def set_device_memory(self, address: int, size: int) -> None:
        assert self.laid_out is not None, "memory is laid out for the shapes before it is lent"
        assert address % 256 == 0
        assert self.laid_out <= size
        assert self._device.holds(address, size)
        self.scratch = (address, size)

    def execute_async_v3(self, handle: int) -> bool:
        device, engine, alive = self._device, self.engine, weakref.ref(self)
        device.note("run")
        assert self.scratch is not None, "there is no memory for these shapes"
        addresses, shapes, (scratch, size) = dict(self.addresses), dict(self.shapes), self.scratch
        types = engine.inputs
        places = [(addresses[name], size_of(types[name], shapes[name])) for name in types]
        places += [
            (addresses[n], size_of(engine.outputs[n], shape)) for n, shape in self.found.items()
        ]
        if self.cache is not None and self.profile not in self.cache.compiled:
            device.note("compile")
            self.cache.compiled.add(self.profile)

        def work() -> None:
            assert alive() is not None, "the context went before its work was done"
            device.write(scratch, np.full(size, GARBAGE, np.uint8))
            inputs = {
                name: device.read(addresses[name], shape, engine.inputs[name])
                for name, shape in shapes.items()
            }
            for name, array in engine.run(inputs).items():
                device.write(addresses[name], array)

        device.queue(handle, work, [*places, (scratch, size)])
        return True

    @property
    def _device(self) -> Gpu:
        return self.engine.device


def size_of(dtype: npt.DTypeLike, shape: Sequence[int]) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def needed(shapes: Mapping[str, Sequence[int]]) -> int:
    """Bytes for activations."""
    return 3 * max(4 * int(np.prod(shape)) for shape in shapes.values())


def fake_library(device: Gpu, flavour: str = "tensorrt") -> Library:
    """The library, whose plans run on `device`; it refuses every plan that is not JSON.

    TensorRT for RTX says which GPUs it is for, and compiles kernels when graphs first run.
    """
    messages = Messages()

    class Runtime:
        def __init__(self, logger: object) -> None:
            assert logger == "logger"

        def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
            try:
                described = json.loads(plan)
            except ValueError:
                messages.add("Serialization assertion magicTagRead == kMAGIC_TAG failed")
                return None
            graph = described.get("path") or base64.b64decode(described["graph"])
            return FakeEngine(device, graph, described["profiles"])

    module: Any = SimpleNamespace(
        Runtime=Runtime, ExecutionContextAllocationStrategy=Strategy, nptype=lambda kind: kind
    )
    if flavour == "tensorrt-rtx":
        module.ComputeCapability = ComputeCapability
        module.IRuntimeCache = FakeRuntimeCache
        module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(NONE="none")
    return Library(module, flavour, "10.99.0", "logger", messages)


def fake_plans(
    manifest: Manifest, folder: Path, max_side: int = 640, top: float | None = None
) -> Mapping[str, bytes]:
    """Plans with the profiles that real ones get, of the graphs as they are in the folder."""
    plans = {}
    for stage in manifest.stages:
        shapes = [
            {key: (span.min, span.opt, span.max) for key, span in profile.items()}
            for profile in profiles(manifest, stage, max_side, top)
        ]
        described = {"path": str(folder / stage.file), "profiles": shapes}
        plans[stage.name] = json.dumps(described).encode()
    return plans


def real_plans(
    manifest: Manifest, folder: Path, max_side: int = 640, halves: Collection[str] = ()
) -> Mapping[str, bytes]:
    """Plans of the graphs that TensorRT gets: pictures are resized, masks are float16.

    halves  names of stages that compute in float16.
    """
    painting, graph = view_stage(manifest)
    graphs = [(painting, graph)]
    graphs += [
        (stage, stage_graph(folder / stage.file, stage, stage.name in halves))
        for stage in manifest.stages
    ]
    plans = {}
    for stage, content in graphs:
        shapes = [
            {key: (span.min, span.opt, span.max) for key, span in profile.items()}
            for profile in profiles(manifest, stage, max_side)
        ]
        described = {"graph": base64.b64encode(content).decode(), "profiles": shapes}
        plans[stage.name] = json.dumps(described).encode()
    return plans


def load(
    folder: Path, device: FakeDevice, flavour: str = "tensorrt", max_side: int = 640, *kept: Any
) -> DeepMask:
    """The model of a folder on the fake device; where kernels are kept, and who is told."""
    manifest = load_manifest(folder)
    plans, library = fake_plans(manifest, folder, max_side), fake_library(device, flavour)
    engine = TensorRTEngine(manifest, plans, library, device, *kept)
    return DeepMask(manifest, engine, Choice(flavour, "cuda"))


def picture(seed: int, height: int = 90, width: int = 120) -> Picture:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
