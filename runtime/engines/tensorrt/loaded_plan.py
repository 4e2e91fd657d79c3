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


class PlanContext:
    """An execution context, and what it was told last: it is told again only what changes."""

    def __init__(self, context: Any, profile: int) -> None:
        self.context = context
        self.profile = profile
        self.shapes: dict[str, tuple[int, ...]] = {}
        #: The outputs' shapes, and bytes that activations need, for those.
        self.made: dict[str, tuple[int, ...]] = {}
        self.scratch = 0
        self.addresses: dict[str, int] = {}
        self.lent = (0, 0)


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
        of_numpy, type_of = library.module.nptype, engine.get_tensor_dtype
        self.output_types = {name: np.dtype(of_numpy(type_of(name))) for name in stage.outputs}
        self.profiles = [
            {n: Range(*map(tuple, engine.get_tensor_profile_shape(n, k))) for n in stage.inputs}
            for k in range(engine.num_optimization_profiles)
        ]

    def create_context(self, profile: int, stream: int) -> PlanContext:
        """Make an execution context for one profile, without memory for activations."""
        how = self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._cache is not None:
            how = self._cache.config
            self._has_new_kernels = True  # most are compiled when a context first runs
        context = self._engine.create_execution_context(how)
        self._require(context is not None, "made no execution context, for want of memory perhaps")
        taken = context.set_optimization_profile_async(profile, stream)
        self._require(taken, f"does not take profile {profile}")
        return PlanContext(context, profile)

    def prepare(self, own: PlanContext, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Give a context the inputs' shapes, from which it knows the outputs' and its memory.

        Asking for the bytes that activations need lays that memory out. TensorRT answers 0 if it
        fails as well as if nothing is needed: then the profile's most is taken. It is never 0, for
        TensorRT runs no context without memory if other shapes of the plan need some.
        """
        if own.shapes == shapes:
            return
        context, own.shapes, own.lent = own.context, {}, (0, 0)
        for name, shape in shapes.items():
            taken = context.set_input_shape(name, shape)
            self._require(taken, f"does not take {name} of shape {shape}")
        try:
            missing = context.infer_shapes()
        except RuntimeError:
            self._require(False, "cannot infer shapes")
        self._require(not missing, f"does not know the shapes of {', '.join(missing)}")
        own.made = {name: tuple(context.get_tensor_shape(name)) for name in self.output_types}
        size = int(context.update_device_memory_size_for_shapes())
        most = self._engine.get_device_memory_size_for_profile_v2
        own.scratch = max(1, size or int(most(own.profile)))
        own.shapes = dict(shapes)

    def enqueue(
        self, own: PlanContext, addresses: Mapping[str, int], scratch: tuple[int, int], stream: int
    ) -> None:
        """Queue one run. All memory must stay until it is done.

        `scratch` is the address of memory for activations, aligned to 256, and its size.
        """
        for name, address in addresses.items():
            if own.addresses.get(name) != address:
                own.addresses.pop(name, None)
                taken = own.context.set_tensor_address(name, address)
                self._require(taken, f"does not take the address of {name}")
                own.addresses[name] = address
        if own.lent != scratch:
            own.context.set_device_memory(*scratch)
            own.lent = scratch
        self._require(own.context.execute_async_v3(stream), "does not take this run")

    def keep_kernels(self, only_new: bool = False) -> None:
        """Keep what was compiled; if `only_new`, at no cost where no context is new."""
        if self._cache is not None and (self._has_new_kernels or not only_new):
            self._has_new_kernels = False
            self._cache.keep()

    def _require(self, fulfilled: bool, problem: str) -> None:
        if not fulfilled:
            flavour, said = self._library.flavour, self._library.said()
            raise EngineError(f"{flavour}: the plan of {self.name} {problem}{said}")
