"""A graph as TensorRT runs it: an engine with its weights on the GPU, shared by all threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.flavours import Library
from deepmask.runtime.engines.tensorrt.profile import Profile, Range, choose_profile
from deepmask.runtime.engines.tensorrt.runtime_cache import KernelFolder, Kernels, opened_kernels
from deepmask.runtime.model.manifest import Stage

#: What TensorRT calls the types of tensors.
_TYPES = {"float32": "FLOAT", "int64": "INT64"}


class BuiltGraph:
    """See above. Everything goes by tensor names, as TensorRT 10 and 11 and TensorRT for RTX do."""

    def __init__(
        self,
        name: str,
        graph: Stage,
        engine: Any,
        library: Library,
        kernels: Kernels | None = None,
    ) -> None:
        """`engine` is an `ICudaEngine`; raises `EngineError` if it is not built from `graph`."""
        self.name = name
        self._library = library
        self._engine = engine
        self._kernels = kernels
        self._has_new_kernels = False
        self._outputs = list(graph.outputs)
        self._check_edges(graph)
        count = engine.num_optimization_profiles
        self.profiles = [self._profile(index, list(graph.inputs)) for index in range(count)]

    def choose_profile(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """The smallest profile that takes these shapes; raises `EngineError` where none does."""
        return choose_profile(self.profiles, shapes)

    def create_context(self, profile: int, stream: int) -> Any:
        """An execution context for one profile, without memory for activations."""
        strategy = self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        how = strategy if self._kernels is None else self._kernels.config
        context = self._engine.create_execution_context(how)
        self._has_new_kernels = self._kernels is not None
        if context is None:
            raise self._error("made no execution context, for want of GPU memory perhaps")
        self._require(context.set_optimization_profile_async(profile, stream), f"profile {profile}")
        return context

    def output_shapes(
        self, context: Any, shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        """The outputs' shapes for these inputs, which the context keeps."""
        for name, shape in shapes.items():
            self._require(context.set_input_shape(name, shape), f"{name} of shape {shape}")
        try:
            missing = context.infer_shapes()
        except RuntimeError as error:
            raise self._error("cannot infer shapes") from error
        if missing:
            raise self._error(f"does not know the shapes of {', '.join(missing)}")
        found = {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}
        if any(size < 0 for shape in found.values() for size in shape):
            raise self._error(f"does not know the shapes of its outputs: {found}")
        return found

    def scratch_size(self, context: Any, profile: int) -> int:
        """Bytes of memory that the context needs for activations of the shapes that it was given.

        Asking lays that memory out, so it is done for each run, after the shapes are set and before
        `enqueue`. TensorRT answers 0 if it fails as well as if nothing is needed: then what the
        profile needs at most is taken. It is never 0, for TensorRT refuses to run a context without
        memory if other shapes of the engine need some.
        """
        size = int(context.update_device_memory_size_for_shapes())
        return max(1, size or int(self._engine.get_device_memory_size_for_profile_v2(profile)))

    def enqueue(
        self, context: Any, addresses: Mapping[str, int], scratch: int, size: int, stream: int
    ) -> None:
        """Queue one run. All memory must stay as it is until the stream has done it.

        `scratch` is the address of at least `scratch_size` bytes, aligned to 256.
        """
        for name, address in addresses.items():
            self._require(context.set_tensor_address(name, address), f"the address of {name}")
        context.set_device_memory(scratch, size)
        self._require(context.execute_async_v3(stream), "this run")

    def keep_kernels(self, all_of_them: bool = True) -> None:
        """Keep what TensorRT has compiled for this graph.

        All of it, or only if there are new contexts, for which most is compiled: that costs nothing
        where there are none.
        """
        if self._kernels is not None and (all_of_them or self._has_new_kernels):
            self._has_new_kernels = False
            self._kernels.keep()

    def _profile(self, index: int, inputs: Sequence[str]) -> Profile:
        shapes = {name: self._engine.get_tensor_profile_shape(name, index) for name in inputs}
        return {name: Range(*map(tuple, triple)) for name, triple in shapes.items()}

    def _check_edges(self, graph: Stage) -> None:
        engine, mode = self._engine, self._library.module.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == mode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if sorted(inputs) != sorted(graph.inputs) or sorted(outputs) != sorted(graph.outputs):
            raise self._error(
                f"has inputs {inputs} and outputs {outputs}, model.json says "
                f"{list(graph.inputs)} and {list(graph.outputs)}"
            )
        for name, spec in {**graph.inputs, **graph.outputs}.items():
            found = engine.get_tensor_dtype(name).name
            if found != _TYPES[spec.dtype]:
                raise self._error(f"holds {name} as {found}, expected {spec.dtype}")

    def _require(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise self._error(f"does not take {what}")

    def _error(self, problem: str) -> EngineError:
        return EngineError(
            f"{self._library.flavour}: the engine of graph {self.name} {problem}"
            + said(self._library)
        )


def load_graph(
    name: str,
    graph: Stage,
    plan: bytes,
    runtime: Any,
    library: Library,
    gpu: Gpu,
    kernels: KernelFolder | None = None,
) -> BuiltGraph:
    """Deserialise a plan; raises `EngineError` if TensorRT refuses it."""
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(
            f"{library.flavour} {library.version} does not load its engine of graph {name}"
            + said(library)
            + "; deepmask-doctor --clear-cache removes it"
        )
    opened = None
    if kernels is not None:
        opened = opened_kernels(kernels, name, graph, plan, engine, library, gpu)
    return BuiltGraph(name, graph, engine, library, opened)


def said(library: Library) -> str:
    """What TensorRT last remarked, as the end of a sentence."""
    messages = library.messages.take()
    return f": {messages[-1][:300]}" if messages else ""
