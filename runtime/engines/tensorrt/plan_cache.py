"""A model's engines for one GPU: taken from the cache where they fit, built where they do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt import plan_store
from deepmask.runtime.engines.tensorrt.build import build_plan
from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.flavours import FLAVOURS, Library
from deepmask.runtime.engines.tensorrt.plan_metadata import (
    Identity,
    Stamp,
    hash_of,
    identify,
    name_of,
)
from deepmask.runtime.engines.tensorrt.plan_store import Kept
from deepmask.runtime.engines.tensorrt.precision import check_precision, engine_types
from deepmask.runtime.engines.tensorrt.profile import Profile, profiles
from deepmask.runtime.model.manifest import Manifest, Stage

Report = Callable[[str], None]

#: Precisions of a model that TensorRT cannot compute in, and what to do.
_REFUSED = {
    "int8": "it has zero points, which CPU engines alone take (--device cpu); export the "
    "checkpoint with --precision int8-symmetric for TensorRT"
}


@dataclass(frozen=True)
class _Wanted:
    """A plan as it must be."""

    name: str
    graph: Stage
    identity: Identity
    profiles: list[Profile]

    @property
    def stem(self) -> str:
        """Name of its files, made of hashes: graph, flavour, platform and GPU have their own."""
        one = self.identity
        place = name_of(one.flavour, one.platform, one.gpu, one.compute_capability)
        return f"{one.graph[:16]}-{place[:8]}"

    @property
    def timings(self) -> str:
        """Name of the timing cache that serves it."""
        one = self.identity
        place = name_of(one.flavour, one.version, one.platform, one.gpu, one.driver)
        return place[:16] + plan_store.TIMINGS


class _Cache:
    """One call's view of a cache folder, and the builds that it asks for."""

    def __init__(self, folder: Path, library: Library, ahead: bool, report: Report) -> None:
        self.folder = folder
        self.library = library
        self.ahead = ahead
        self.report = report
        self.writable = False

    def build(self, wanted: _Wanted, path: Path) -> Kept:
        """Build a plan of the graph in a file, keep it if possible, and say what it holds."""
        identity, start, content = wanted.identity, time.monotonic(), path.read_bytes()
        if hash_of(content) != identity.graph:
            raise EngineError(f"{path}: was changed since the model was loaded; start again")
        portable = FLAVOURS[identity.flavour].portable
        plan = build_plan(
            self.library,
            content,
            wanted.name,
            wanted.profiles,
            targets=[identity.compute_capability] if portable else [],
            timing_cache=self._read(wanted.timings),
        )
        seconds = time.monotonic() - start
        stamp = Stamp(identity, hash_of(plan.content), round(seconds, 3), plan.layers)
        kept = Kept(plan.content, stamp)
        if not self.ahead:
            self._verify(wanted.name, kept)  # before it is kept: what does not load is no use later
        self._try_to_write(lambda: plan_store.keep(self.folder, wanted.stem, kept))
        if plan.timing_cache:
            timings = self.folder / wanted.timings
            self._try_to_write(lambda: plan_store.write_whole(timings, plan.timing_cache))
        self.report(f"engine {wanted.name}: built in {seconds:.0f} s, {_layers(plan.layers)}")
        for line in plan.warnings:
            self.report(f"Warning: TensorRT on {wanted.name}: {line}")
        return kept

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among processes, if the folder can be written; if not, that is said."""
        with ExitStack() as stack:
            self.writable = True
            self._try_to_write(
                lambda: stack.enter_context(plan_store.locked(self.folder, self._say_waiting))
            )
            yield

    def _try_to_write(self, write: Callable[[], object]) -> None:
        if not self.writable:
            return
        try:
            write()
        except OSError as error:
            self.writable = False
            self.report(
                f"Warning: {self.folder} cannot be written ({error.strerror or error}): engines "
                "are not kept, but built again each time; name another folder with --cache"
            )

    def _say_waiting(self) -> None:
        self.report("another process is building engines, waiting for it")

    def _read(self, name: str) -> bytes:
        with suppress(OSError):
            return (self.folder / name).read_bytes()
        return b""

    def _verify(self, name: str, kept: Kept) -> None:
        """Compare what was asked of TensorRT with its own description of the engine."""
        types = engine_types(self.library, kept.plan)
        missing = sorted(set(kept.stamp.layers) - types)
        if types and missing:
            self.report(
                f"Warning: TensorRT's description of engine {name} shows {', '.join(sorted(types))}"
                f" between its layers, and no {', '.join(missing)}"
            )


def engine_plans(
    manifest: Manifest,
    folder: Path,
    library: Library,
    gpu: Gpu,
    *,
    cache: Path | None = None,
    max_side: int,
    ahead: bool = False,
    report: Report = lambda line: None,
) -> dict[str, bytes]:
    """The plans of a model's graphs, by name, for one GPU: out of the cache or built into it.

    folder     the model's.
    cache      where engines are kept; by default among the user's caches.
    max_side   the longest side of scale 1 that must fit, in pixels.
    ahead      the GPU is not here: the engines are not loaded to look into them.
    report     is given a line for whatever a user must know: why an engine is built, what it
               computes in, what TensorRT warns of.

    A cache that cannot be written is a warning. What was built before Ctrl-C is kept. Raises
    `EngineError` if a graph cannot be built, or if the engines do not compute in the model's
    precision.
    """
    if manifest.precision in _REFUSED:
        raise EngineError(
            f"{library.flavour} does not take {manifest.precision}: {_REFUSED[manifest.precision]}"
        )
    own = _Cache(cache or plan_store.default_folder(), library, ahead, report)
    wanted = [
        _wanted(manifest, name, library, gpu, max_side)
        for name in (stage.name for stage in manifest.stages)
    ]
    found = {one.name: plan_store.find(own.folder, one.stem, one.identity) for one in wanted}
    if any(isinstance(kept, str) for kept in found.values()):
        with own.locked():
            for one in wanted:
                # Another process may have built it while this one waited.
                kept = plan_store.find(own.folder, one.stem, one.identity)
                if isinstance(kept, str):
                    why = f"rebuilding, {kept}" if kept else "building, there is none yet"
                    report(f"engine {one.name}: {why}")
                    kept = own.build(one, folder / one.graph.file)
                found[one.name] = kept
    plans = {name: kept for name, kept in found.items() if isinstance(kept, Kept)}
    layers = {name: kept.stamp.layers for name, kept in plans.items()}
    held = check_precision(manifest.precision, layers)
    report(f"precision {held}")
    return {name: kept.plan for name, kept in plans.items()}


def _wanted(manifest: Manifest, name: str, library: Library, gpu: Gpu, max_side: int) -> _Wanted:
    graph = manifest.stage(name)
    shapes = profiles(manifest, graph, max_side)
    identity = identify(
        library.flavour, library.version, gpu, manifest.precision, graph.sha256, shapes
    )
    return _Wanted(name, graph, identity, shapes)


def _layers(layers: dict[str, int]) -> str:
    counts = ", ".join(f"{count} in {name}" for name, count in layers.items())
    return f"convolutions and products: {counts or 'none'}"
