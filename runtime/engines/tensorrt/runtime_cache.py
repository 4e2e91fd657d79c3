"""Keep what TensorRT for RTX compiles on the GPU, so that the next start has it.

Its plans hold no machine code: kernels are compiled when a stage first runs, into TensorRT's
`IRuntimeCache`. Here that has a file beside the plan, which is checked before TensorRT sees it.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.flavours import Library
from deepmask.runtime.engines.tensorrt.plan_cache import PLATFORM, name_of, write_whole
from deepmask.runtime.model.manifest import Stage


class RuntimeCache:
    """The compiled kernels of one plan, in a file that begins with the SHA-256 of the rest."""

    def __init__(self, config: Any, cache: Any, path: Path, report: Callable[[str], None]) -> None:
        """`config` is what execution contexts are to be made with, so that they share `cache`."""
        self.config = config
        self._cache, self._path, self._report = cache, path, functools.cache(report)
        self._lock = threading.Lock()
        self._kept = b""  # the digest in the file

    def load(self) -> str:
        """Take what the file holds, or return why kernels must be compiled."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return "there are none yet"
        except OSError as error:
            return f"{self._path} cannot be read ({error.strerror})"
        digest, kernels = content[:32], content[32:]
        if hashlib.sha256(kernels).digest() != digest:
            return f"{self._path} was changed or cut short"
        if not self._cache.deserialize(kernels):
            return f"TensorRT does not take those in {self._path}"
        self._kept = digest
        return ""

    def keep(self) -> None:
        """Write the file if there are kernels that it does not hold; a failure is told once."""
        with self._lock:
            kernels = bytes(self._cache.serialize() or b"")
            digest = hashlib.sha256(kernels).digest()
            if kernels and digest != self._kept:
                self._kept = digest
                try:
                    self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    write_whole(self._path, digest + kernels)
                except OSError as error:
                    self._report(
                        f"Warning: {self._path} cannot be written ({error.strerror or error}): "
                        "kernels are compiled again each time; name another folder with --cache"
                    )


def open_runtime_cache(
    folder: Path | None,
    stage: Stage,
    engine: Any,
    library: Library,
    gpu: Gpu,
    report: Callable[[str], None],
) -> RuntimeCache | None:
    """Return the cache, kept in `folder`, of a stage's plan; None where nothing is to be kept."""
    if folder is None or not hasattr(library.module, "IRuntimeCache"):
        return None
    config = engine.create_runtime_config()
    cache = None if config is None else config.create_runtime_cache()
    if cache is None or not config.set_runtime_cache(cache):
        report(f"Warning: kernels of {stage.name} are compiled again each time{library.said()}")
        return None
    # Kernels made for single shapes would be compiled anew for each size of a picture, beside it.
    kinds = library.module.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = kinds.NONE
    strategy = library.module.ExecutionContextAllocationStrategy.USER_MANAGED
    config.set_execution_context_allocation_strategy(strategy)
    place = (library.flavour, library.version, PLATFORM, gpu.name, gpu.compute_capability)
    path = folder / f"{name_of(stage.sha256, *place, gpu.driver)}.kernels"
    opened = RuntimeCache(config, cache, path, report)
    if why := opened.load():
        report(f"kernels of {stage.name}: compiling, {why}")
    return opened
