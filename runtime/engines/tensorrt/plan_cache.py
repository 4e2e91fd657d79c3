"""Get a model's plans for one GPU: from a cache folder where they fit, built where they do not.

A plan lies beside a JSON that says what it was built by and for. That is compared before TensorRT
sees the plan, which may crash it. Both are written whole, so readers need no lock.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.build import build_plan
from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.flavours import FLAVOURS, Library
from deepmask.runtime.engines.tensorrt.graphs import half_stages, stage_graph, view_stage
from deepmask.runtime.engines.tensorrt.memory import require_room
from deepmask.runtime.engines.tensorrt.profile import Profile, profiles
from deepmask.runtime.errors import one_line
from deepmask.runtime.io.atomic import TEMPORARY_END, atomic_write, remove_stale
from deepmask.runtime.model.manifest import Manifest, Stage
from deepmask.runtime.progress import Progress, no_progress

try:
    import fcntl
except ImportError:  # Windows: two processes may both build
    fcntl = None  # type: ignore[assignment]

#: The number changes with what a description holds, and with how plans are built.
FORMAT = "deepmask-plan/5"
#: What stands for a GPU or driver that a plan is not bound to.
ANY = "any"
#: Operating system and processor: a plan is for those that it was built on.
PLATFORM = f"{sys.platform}-{platform.machine().lower()}"
#: Holds nothing: a file of this name that does is another's.
_LOCK = "lock"
_OWN = re.compile(rf"[0-9a-f]{{16}}-[0-9a-f]{{8}}\.(plan|json|kernels)({TEMPORARY_END})?|{_LOCK}")
#: What JSON of another make leads to when it is read as a description.
_FOREIGN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

Identity = Mapping[str, Any]  # what must be equal for a plan to be used, see `identify`


def model_plans(
    manifest: Manifest,
    folder: Path,
    library: Library,
    gpu: Gpu,
    *,
    cache: Path | None = None,
    max_side: int = 0,
    top: float | None = None,
    tf32: bool = True,
    fp16: bool = True,
    free: int = 0,
    report: Callable[[str], None] = lambda line: None,
    progress: Progress = no_progress,
) -> dict[str, bytes]:
    """Return the plan of each stage of a model for one GPU, and of `view_stage` if it builds.

    cache      where they are kept; by default among the user's caches.
    max_side   the longest side of scale 1 that must fit, in pixels; at least the model's own.
    top        scales up to 2^`top` must fit; by default the model's own.
    tf32, fp16  whether products may be in TF32, and `half_stages` in float16.
    free       bytes of memory that the GPU has left for what is built; 0: not known.
    report     is given a line for whatever a user must know, as that the cache cannot be written.

    What was built before Ctrl-C is kept. Raises `EngineError` if one cannot be built.
    """
    if manifest.precision == "int8":
        raise EngineError(
            f"{library.flavour} does not take int8, whose zero points are for CPUs (--device cpu); "
            "export the checkpoint with --precision int8-symmetric for TensorRT"
        )
    report = functools.cache(report)  # also where none of the plans can be written
    own = _Plans(cache or default_folder(), library, report, progress, manifest, free)
    side = max(max_side, manifest.views.max_side)

    def plan(stage: Stage, content: Callable[[], bytes], half: bool = False) -> bytes:
        identity = identify(library, gpu, manifest, stage, side, top, tf32, half)
        shapes = profiles(manifest, stage, side, identity["top"])
        return own.get(stage, identity, shapes, content)

    halves, why = half_stages(manifest) if fp16 else (set[str](), manifest.precision)
    plans = {}
    for stage in manifest.stages:
        half = stage.name in halves
        content = functools.partial(stage_graph, folder / stage.file, stage, half)
        plans[stage.name] = plan(stage, content, half)
    painting, graph = view_stage(manifest)
    try:
        plans[painting.name] = plan(painting, lambda: graph)
    except EngineError as error:
        report(f"pictures are resized by the processor: {error}")
    able = tuple(map(int, gpu.compute_capability.split("."))) >= (8, 0)
    report(f"precision {why}{', products in TF32' * (able and tf32)}")
    if manifest.precision == "fp32" and not (able or halves):
        report(f"{gpu.name} has no TF32: deepmask-export --precision fp16 makes a faster model")
    return plans


def identify(
    library: Library,
    gpu: Gpu,
    manifest: Manifest,
    stage: Stage,
    max_side: int,
    top: float | None = None,
    tf32: bool = True,
    half: bool = False,
) -> Identity:
    """Return the identity of a plan on this platform, as it is written into its description.

    `shapes` stands for the profiles, but for `max_side` and `top`, for which more will do too.
    """
    bound = not FLAVOURS[library.flavour].portable
    shapes = str(profiles(manifest, stage, manifest.views.max_side)).encode()
    return {
        "format": FORMAT,
        "flavour": library.flavour,
        "version": library.version,
        "platform": PLATFORM,
        "gpu": gpu.name if bound else ANY,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver if bound else ANY,
        "precision": "fp16" if half else manifest.precision,
        "graph": stage.sha256,
        "shapes": hashlib.sha256(shapes).hexdigest()[:16],
        "max_side": max_side,
        "top": manifest.views.scales.stop if top is None else top,
        "tf32": tf32,
    }


def path_of(folder: Path, identity: Identity) -> Path:
    """Return the file of a plan: each graph, flavour, platform and GPU has its own."""
    place = (identity[key] for key in ("flavour", "platform", "gpu", "compute_capability"))
    return folder / f"{name_of(identity['graph'], *place)}.plan"


def find(folder: Path, wanted: Identity) -> bytes | str:
    """Return the plan of that identity, or why the one there cannot be used; "" for none."""
    path = path_of(folder, wanted)
    try:
        plan = path.read_bytes()
        found = json.loads(path.with_suffix(".json").read_bytes())
        if changes := _changes(found, wanted):
            return "; ".join(changes)
        whole = hashlib.sha256(plan).hexdigest() == found["sha256"]
        return plan if whole else f"{path} was changed or cut short"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    except _FOREIGN:
        return f"the description beside {path} cannot be used"


def keep(folder: Path, identity: Identity, plan: bytes) -> None:
    """Write a plan and its description, in place of what has their name; raises `OSError`."""
    path = path_of(folder, identity)
    own = {**identity, "sha256": hashlib.sha256(plan).hexdigest()}
    write_whole(path, plan)
    write_whole(path.with_suffix(".json"), json.dumps(own, indent=1).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, for its owner alone, under another name and rename it; raises `OSError`."""
    with atomic_write(path, mode=0o600) as file:
        file.write(content)
    remove_stale(path)


def name_of(graph: str, *parts: str) -> str:
    """Return a file name for a graph, by its SHA-256, and what else tells files apart."""
    return f"{graph[:16]}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:8]}"


def default_folder() -> Path:
    """Return the folder for plans among the user's caches."""
    import platformdirs

    return platformdirs.user_cache_path("deepmask", appauthor=False) / "plans"


def files(folder: Path) -> list[Path]:
    """List the files of a folder that were written here, whatever else is in it."""
    with suppress(OSError):
        named = sorted(path for path in folder.iterdir() if _OWN.fullmatch(path.name))
        return [path for path in named if path.name != _LOCK or not path.stat().st_size]
    return []


def size_of(folder: Path) -> int:
    """Return the bytes of those files. Some may go while they are counted."""
    size = 0
    for path in files(folder):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def clear(folder: Path) -> int:
    """Remove those files, and return their size in bytes; raises `OSError`."""
    size = size_of(folder)
    for path in files(folder):
        path.unlink(missing_ok=True)
    return size


@dataclass(frozen=True)
class _Plans:
    folder: Path
    library: Library
    report: Callable[[str], None]
    progress: Progress
    manifest: Manifest
    free: int

    def get(
        self,
        stage: Stage,
        wanted: Identity,
        shapes: Sequence[Profile],
        graph: Callable[[], bytes],
    ) -> bytes:
        """Find a plan, or build it of a graph."""
        name, found = stage.name, find(self.folder, wanted)
        if isinstance(found, bytes):
            return found
        with self._locked():
            found = find(self.folder, wanted)  # another process may have built it meanwhile
            if isinstance(found, bytes):
                return found
            again = f"{found}: building again" if found else "building"
            self.report(f"plan {name}: {again}")
            start, content = time.monotonic(), graph()
            if self.free:
                most = wanted["max_side"], wanted["top"]
                require_room(self.manifest, stage, content, *most, self.free)
            portable = FLAVOURS[self.library.flavour].portable
            targets = [wanted["compute_capability"]] if portable else []
            plan, warnings = build_plan(
                self.library, content, name, shapes, targets, self.progress, wanted["tf32"]
            )
            with self._writing():
                keep(self.folder, wanted, plan)
        self.report(f"plan {name}: built in {time.monotonic() - start:.0f} s")
        for line in warnings:
            self.report(f"Warning: TensorRT on {name}: {line}")
        return plan

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.report(
                f"Warning: {self.folder} cannot be written ({error.strerror or error}): plans "
                "are not kept, but built again each time; name another folder with --cache"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time build: builds measure kernels, and two disturb each other."""
        with ExitStack() as stack:
            with self._writing():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = stack.enter_context((self.folder / _LOCK).open("a"))
                with suppress(OSError):  # this file system has no locks
                    _lock(file.fileno(), self.report)
            yield


def _lock(file: int, report: Callable[[str], None]) -> None:
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process is building plans, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)


def _changes(found: Any, wanted: Identity) -> list[str]:
    """Say for each field in which a description is not what is wanted what it is."""
    return [
        one_line(f"built with {field.replace('_', ' ')} {found[field]}, this is {now}")
        for field, now in wanted.items()
        if found[field] != now and not (field in ("max_side", "top") and found[field] > now)
    ]
