"""Run a plan that is loaded, with its weights on the GPU: all threads share it.

Everything goes by tensor names, as TensorRT 10 and 11 and TensorRT for RTX do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.flavours import Library
from deepmask.runtime.engines.tensorrt.profile import Range
from deepmask.runtime.engines.tensorrt.runtime_cache import RuntimeCache
from deepmask.runtime.model.manifest import Stage


class LoadedPlan:
    """The plan of one stage, loaded as the `ICudaEngine` `engine`."""

    def __init__(
        self, stage: Stage, engine: Any, library: Library, cache: RuntimeCache | None
    ) -> None:
        self.name = stage.name
        self._library = library
        self._engine = engine
        self._cache = cache
        self._has_new_kernels = False
        self.output_types = {name: np.dtype(spec.dtype) for name, spec in stage.outputs.items()}
        self.profiles = [
            {n: Range(*map(tuple, engine.get_tensor_profile_shape(n, k))) for n in stage.inputs}
            for k in range(engine.num_optimization_profiles)
        ]

    def create_context(self, profile: int, stream: int) -> Any:
        """Make an execution context for one profile, without memory for activations."""
        how = self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._cache is not None:
            how = self._cache.config
            self._has_new_kernels = True  # most are compiled when a context first runs
        context = self._engine.create_execution_context(how)
        self._require(context is not None, "made no execution context, for want of memory perhaps")
        taken = context.set_optimization_profile_async(profile, stream)
        self._require(taken, f"does not take profile {profile}")
        return context

    def output_shapes(
        self, context: Any, shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        """Return the outputs' shapes for these inputs, which the context keeps."""
        for name, shape in shapes.items():
            taken = context.set_input_shape(name, shape)
            self._require(taken, f"does not take {name} of shape {shape}")
        try:
            missing = context.infer_shapes()
        except RuntimeError:
            self._require(False, "cannot infer shapes")
        self._require(not missing, f"does not know the shapes of {', '.join(missing)}")
        return {name: tuple(context.get_tensor_shape(name)) for name in self.output_types}

    def scratch_size(self, context: Any, profile: int) -> int:
        """Return the bytes that activations need, for the shapes that the context was given.

        Asking lays that memory out, so it is done for each run, before `enqueue`. TensorRT answers
        0 if it fails as well as if nothing is needed: then the profile's most is taken. It is never
        0, for TensorRT runs no context without memory if other shapes of the plan need some.
        """
        size = int(context.update_device_memory_size_for_shapes())
        return max(1, size or int(self._engine.get_device_memory_size_for_profile_v2(profile)))

    def enqueue(
        self, context: Any, addresses: Mapping[str, int], scratch: int, size: int, stream: int
    ) -> None:
        """Queue one run. All memory must stay until it is done; `scratch` is aligned to 256."""
        for name, address in addresses.items():
            taken = context.set_tensor_address(name, address)
            self._require(taken, f"does not take the address of {name}")
        context.set_device_memory(scratch, size)
        self._require(context.execute_async_v3(stream), "does not take this run")

    def keep_kernels(self, only_new: bool = False) -> None:
        """Keep what was compiled; if `only_new`, at no cost where no context is new."""
        if self._cache is not None and (self._has_new_kernels or not only_new):
            self._has_new_kernels = False
            self._cache.keep()

    def _require(self, fulfilled: bool, problem: str) -> None:
        if not fulfilled:
            flavour, said = self._library.flavour, self._library.said()
            raise EngineError(f"{flavour}: the plan of {self.name} {problem}{said}")
