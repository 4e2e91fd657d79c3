"""Build TensorRT's plans of an exported model before anyone runs it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.runtime.engines.base import DeviceError, EngineError
from deepmask.runtime.engines.tensorrt.build import check_gpu, target_name
from deepmask.runtime.engines.tensorrt.cuda import Gpu, open_device
from deepmask.runtime.engines.tensorrt.flavours import FLAVOURS, Library, load_library
from deepmask.runtime.engines.tensorrt.plan_cache import ANY, PLATFORM, default_folder, model_plans
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.progress import Progress, no_progress

RTX = "tensorrt-rtx"


@dataclass(frozen=True)
class PlanOptions:
    """What can be chosen about the plans.

    flavour    one of `FLAVOURS`, or "auto" for the first that is installed.
    targets    GPUs by compute capability, as "sm89" or "8.9", in other machines of this platform:
               for TensorRT for RTX. None means the GPU of this machine.
    max_side   the longest side of scale 1 that the plans take, in pixels; at least the model's own.
    cache      the folder that they go to; by default among the user's caches.
    """

    flavour: str = "auto"
    targets: tuple[str, ...] = ()
    max_side: int = 0
    cache: Path | None = None


class PlanBuilder:
    """Find what is missing before an export; then build the plans of the exported model."""

    def __init__(self, options: PlanOptions) -> None:
        """Raises `ExportUsageError` or `ExportError` if no plan could be built."""
        self._options = options
        self._active: Callable[[], AbstractContextManager[None]] = nullcontext
        self._free: Callable[[], int] = lambda: 0
        try:
            self._library = _library(options)
            self._gpus = [_target(self._library, target) for target in options.targets]
            if not options.targets:
                device = open_device()
                check_gpu(self._library, device.gpu)
                self._gpus, self._active, self._free = [device.gpu], device.active, device.free
        except DeviceError as error:
            rtx = f"TensorRT for RTX builds for a GPU elsewhere: --engine {RTX} --target sm89"
            raise ExportError(f"--build-engine: {error}; {rtx}") from error
        except EngineError as error:
            raise ExportError(f"--build-engine: {error}") from error

    def build(
        self, folder: Path, report: Callable[[str], None], progress: Progress = no_progress
    ) -> None:
        """Build the plans of a model folder, the coarse form's too; raises `ExportError`."""
        manifest = load_manifest(folder)
        forms = [manifest, *([manifest.coarse_form()] if manifest.coarse else [])]
        library, cache = self._library, self._options.cache
        side = self._options.max_side
        get = functools.partial(model_plans, cache=cache, max_side=side, progress=progress)
        for gpu in self._gpus:
            named = "" if gpu.name == ANY else f"{gpu.name}, "
            named += f"compute capability {gpu.compute_capability}, {PLATFORM}"
            report(f"plans of {library.flavour} {library.version} for {named}")
            for form in forms:
                try:
                    with self._active():
                        get(form, folder, library, gpu, report=report, free=self._free())
                except EngineError as error:
                    raise ExportError(str(error)) from error
        report(f"plans are in {cache or default_folder()}")


def _library(options: PlanOptions) -> Library:
    if options.targets and options.flavour == "tensorrt":
        raise ExportUsageError(f"--target is for --engine {RTX}: TensorRT builds where it runs")
    if options.flavour != "auto" or options.targets:
        return load_library(RTX if options.targets else options.flavour)
    problems = []
    for flavour in FLAVOURS:
        try:
            return load_library(flavour)
        except EngineError as error:
            problems.append(str(error))
    raise EngineError("; or ".join(problems))


def _target(library: Library, target: str) -> Gpu:
    """The GPU that "sm89", "SM_89" or "8.9" stands for."""
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", target, re.IGNORECASE)
    if match is None:
        raise ExportUsageError(f"--target {target}: expected a compute capability, as in sm89")
    capability = f"{int(match[1])}.{match[2]}"
    try:
        target_name(library.module, capability)
    except EngineError as error:
        raise ExportUsageError(f"--target {target}: {error}") from error
    return Gpu(ANY, capability, ANY)
