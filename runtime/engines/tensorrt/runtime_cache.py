"""Kernels that TensorRT for RTX compiles where it runs, kept so that the next start has them.

Its plans hold no machine code: that is compiled where the GPU is, when a graph first runs, into
what TensorRT calls a runtime cache. Here that has a file beside the plan. TensorRT compares
version, GPU and driver with its own before it takes one; what it cannot see is compared before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.flavours import Library
from deepmask.runtime.engines.tensorrt.plan_metadata import PLATFORM, digest_of, name_of
from deepmask.runtime.engines.tensorrt.plan_store import KERNELS, write_whole
from deepmask.runtime.errors import one_line
from deepmask.runtime.model.manifest import Stage

#: The file begins with two SHA-256, of the plan and of the kernels, that follow.
_DIGEST = 32

Report = Callable[[str], None]


@dataclass(frozen=True)
class KernelFolder:
    """Where kernels are kept, and who is given a line when they are of no use or cannot be kept."""

    folder: Path
    report: Report

    def path(self, graph: Stage, library: Library, gpu: Gpu) -> Path:
        """The file of one graph's kernels; each GPU, driver, version and platform has its own."""
        capability = ".".join(map(str, gpu.compute_capability))
        place = (library.flavour, library.version, PLATFORM, gpu.name, capability, gpu.driver)
        return self.folder / f"{graph.sha256[:16]}-{name_of(*place)[:8]}{KERNELS}"


class Kernels:
    """One engine's compiled kernels, in memory and in their file. Calls may come from any thread.

    `config` is what execution contexts are to be made with, so that they share these kernels.
    """

    def __init__(
        self, name: str, path: Path, plan: bytes, config: Any, cache: Any, report: Report
    ) -> None:
        """Take what the file holds into `cache`, the engine's `IRuntimeCache`.

        `name` is the graph's. Kernels of another plan, damaged ones and those that TensorRT refuses
        are dropped; that is told, as it is if there are none, for compiling takes a while.
        """
        self.config = config
        self._name = name
        self._path = path
        self._plan = digest_of(plan)
        self._cache = cache
        self._report = report
        self._lock = threading.Lock()
        self._kept = b""  # the digest of what the file holds
        self._read()

    def keep(self) -> None:
        """Write the file if there are kernels that it does not hold; a failure is told once."""
        with self._lock:
            memory = self._cache.serialize()
            content = b"" if memory is None else bytes(memory)
            digest = digest_of(content)
            if not content or digest == self._kept:
                return
            self._kept = digest
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(self._path, self._plan + digest + content)
            except OSError as error:
                report, self._report = self._report, lambda line: None
                report(
                    f"Warning: {self._path} cannot be written ({error.strerror or error}): kernels "
                    "are compiled again each time; name another folder with --cache"
                )

    def _read(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            self._tell("compiling, there are none yet")
            return
        except OSError as error:
            self._drop(f"{self._path} cannot be read ({error.strerror or error})")
            return
        plan, digest = content[:_DIGEST], content[_DIGEST : 2 * _DIGEST]
        kernels = content[2 * _DIGEST :]
        if digest_of(kernels) != digest:
            self._drop(f"{self._path} was changed or cut short")
        elif plan != self._plan:
            self._drop(f"{self._path} is of another plan")
        elif not self._cache.deserialize(kernels):
            self._drop(f"TensorRT does not take those in {self._path}")
        else:
            self._kept = digest

    def _drop(self, why: str) -> None:
        self._tell(f"compiling again, {one_line(why)}")

    def _tell(self, what: str) -> None:
        self._report(f"kernels of engine {self._name}: {what}")


def opened_kernels(
    folder: KernelFolder,
    name: str,
    graph: Stage,
    plan: bytes,
    engine: Any,
    library: Library,
    gpu: Gpu,
) -> Kernels | None:
    """The kernels of an engine; None for a library that compiles none where it runs."""
    if not hasattr(library.module, "IRuntimeCache"):
        return None
    config = engine.create_runtime_config()
    cache = None if config is None else config.create_runtime_cache()
    if cache is None or not config.set_runtime_cache(cache):
        told = one_line("; ".join(library.messages.take()) or "it gave no reason")
        folder.report(f"Warning: kernels of engine {name} are compiled again each time: {told}")
        return None
    strategy = library.module.ExecutionContextAllocationStrategy.USER_MANAGED
    config.set_execution_context_allocation_strategy(strategy)
    path = folder.path(graph, library, gpu)
    return Kernels(name, path, plan, config, cache, folder.report)
