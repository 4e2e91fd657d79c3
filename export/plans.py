"""TensorRT's engines of an exported model, built before anyone runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.build import check_gpu, target_name
from deepmask.runtime.engines.tensorrt.cuda import open_device
from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.flavours import FLAVOURS, Library, load_library
from deepmask.runtime.engines.tensorrt.plan_cache import engine_plans
from deepmask.runtime.engines.tensorrt.plan_metadata import ANY, PLATFORM
from deepmask.runtime.engines.tensorrt.plan_store import default_folder
from deepmask.runtime.model.folder import load_manifest

RTX = "tensorrt-rtx"


@dataclass(frozen=True)
class EngineOptions:
    """What can be chosen about the engines.

    flavour    one of `FLAVOURS`, or "auto" for the first that is installed.
    targets    GPUs by compute capability, as "sm89" or "8.9", in other machines of this platform:
               for TensorRT for RTX. None means the GPU of this machine.
    max_side   the longest side of scale 1 that the engines take, in pixels; the model's own or
               more.
    cache      the folder that they go to; by default among the user's caches.
    """

    flavour: str = "auto"
    targets: tuple[str, ...] = ()
    max_side: int = 0
    cache: Path | None = None


class EngineBuilder:
    """Whatever can be found missing before an export is; then the engines of the exported model."""

    def __init__(self, options: EngineOptions) -> None:
        """Raises `ExportUsageError` or `ExportError` if no engine could be built."""
        self._options = options
        try:
            self._library = _library(options)
            self._places = list(_places(self._library, options.targets))
        except EngineError as error:
            raise ExportError(f"--build-engine: {error}") from error

    def build(self, folder: Path, report: Callable[[str], None]) -> None:
        """Build the engines of a model folder, the coarse form's too; raises `ExportError`."""
        manifest = load_manifest(folder)
        forms = [manifest, *([manifest.coarse_form()] if manifest.coarse else [])]
        options = self._options
        try:
            for gpu, active in self._places:
                named = f"compute capability {'.'.join(map(str, gpu.compute_capability))}"
                report(
                    f"engines of {self._library.flavour} {self._library.version} for "
                    + (named if gpu.name == ANY else f"{gpu.name}, {named}")
                    + f", {PLATFORM}"
                )
                for form in forms:
                    with active():
                        engine_plans(
                            form,
                            folder,
                            self._library,
                            gpu,
                            cache=options.cache,
                            max_side=max(options.max_side, manifest.views.max_side),
                            ahead=gpu.name == ANY,
                            report=report,
                        )
        except EngineError as error:
            raise ExportError(str(error)) from error
        report(f"engines are in {options.cache or default_folder()}")


_Place = tuple[Gpu, Callable[[], AbstractContextManager[None]]]


def _library(options: EngineOptions) -> Library:
    if options.targets and options.flavour == "tensorrt":
        raise ExportUsageError(
            "--target is for --engine tensorrt-rtx: TensorRT builds on the GPU that it is for"
        )
    if options.flavour != "auto" or options.targets:
        return load_library(RTX if options.targets else options.flavour)
    problems = []
    for flavour in FLAVOURS:
        try:
            return load_library(flavour)
        except EngineError as error:
            problems.append(str(error))
    raise EngineError("; or ".join(problems))


def _places(library: Library, targets: Sequence[str]) -> Iterator[_Place]:
    """The GPUs to build for, and what makes each the current one where it is here."""
    for target in targets:
        yield Gpu(ANY, _capability(library, target), ANY, 0), nullcontext
    if not targets:
        try:
            device = open_device()
        except EngineError as error:
            raise EngineError(
                f"{error}; TensorRT for RTX builds for a GPU elsewhere: --engine {RTX} "
                "--target sm89"
            ) from error
        check_gpu(library, device.gpu)
        yield device.gpu, device.active


def _capability(library: Library, target: str) -> tuple[int, int]:
    """ "sm89", "SM_89" or "8.9" → (8, 9)."""
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", target, re.IGNORECASE)
    if match is None:
        raise ExportUsageError(f"--target {target}: expected a compute capability, as in sm89")
    capability = int(match[1]), int(match[2])
    try:
        target_name(library.module, f"{capability[0]}.{capability[1]}")
    except EngineError as error:
        raise ExportUsageError(f"--target {target}: {error}") from error
    return capability
