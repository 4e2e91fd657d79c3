"""One export from what the user asked for: the model folder, plans of it, a version for Triton."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from deepmask.export.convert import convert_model
from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.export.exporter import export_model
from deepmask.export.options import FOR_A_MODEL, ExportOptions, find_source
from deepmask.export.plans import PlanBuilder, PlanOptions
from deepmask.export.triton_repository import require_ours, servable_name, write_repository
from deepmask.runtime.errors import OneLineError, UsageError, system_problem
from deepmask.runtime.io.outputs import require_folder
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.progress import LOGGER, Progress, no_progress
from deepmask.train.checkpoint import CheckpointError

Report = Callable[[str], None]


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    source    a checkpoint of deepmask-train, or the folder of a model that computes in float32, or
              the name of such a model that came with the package, of which a lower precision is
              made.
    out       the model folder to write; by default beside the source and named after it.
    options   what can be chosen about the model.
    plans     which TensorRT plans to build of it; None for none.
    triton    a model repository for NVIDIA Triton to add the model to; None for none.
    """

    source: Path
    out: Path | None = None
    options: ExportOptions = field(default_factory=ExportOptions)
    plans: PlanOptions | None = None
    triton: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What an export wrote: the model folder with its manifest, and the version for Triton."""

    folder: Path
    manifest: Manifest
    triton: Path | None


def export(
    request: ExportRequest,
    report: Report = LOGGER.info,
    progress: Progress = no_progress,
) -> Exported:
    """Write the model folder that is asked for, and what is to be made of it.

    `report` is given lines: what is written, and the figures of each comparison. Raises
    `ExportUsageError` for what cannot be done as asked, and `ExportError` for what was tried and
    failed. `KeyboardInterrupt` has a text that says what is left behind.
    """
    try:
        return _export(request, report, progress)
    except ExportError:
        raise
    except (UsageError, CheckpointError) as error:
        raise ExportUsageError(str(error)) from error
    except OneLineError as error:
        raise ExportError(str(error)) from error
    except OSError as error:
        raise ExportError(system_problem(error)) from error


def _export(request: ExportRequest, report: Report, progress: Progress) -> Exported:
    source, options = find_source(request.source), request.options
    _require_fit(source, request)
    out = request.out or _beside(request.source, options.precision)
    require_folder("--out", out.parent)
    builder = None if request.plans is None else PlanBuilder(request.plans)
    if request.triton is not None:
        require_folder("--triton", request.triton)
        known = load_manifest(source).name if source.is_dir() else source.stem
        require_ours(request.triton, servable_name(options.name or known))
    with _left("nothing was written"):
        write = convert_model if source.is_dir() else export_model
        manifest = write(source, out, options, report, progress)
    report(f"wrote {out}")
    served = None
    if request.triton is not None:
        with _left(f"{out} is complete, nothing was added to {request.triton}"):
            served = write_repository(out, request.triton)
        report(f"wrote {served}")
    if builder is not None:
        with _left(f"{out} is complete, the plans that were done are kept"):
            builder.build(out, report, progress)
    return Exported(out, manifest, served)


def _require_fit(source: Path, request: ExportRequest) -> None:
    options = request.options
    for item in fields(options) if source.is_dir() else ():
        if item.name not in FOR_A_MODEL and getattr(options, item.name) != item.default:
            raise ExportUsageError(
                f"--{item.name.replace('_', '-')} is for a checkpoint: leave it out for a model"
            )
    if request.plans is not None and options.precision == "int8":
        raise ExportUsageError(
            "TensorRT takes no zero points: --build-engine needs --precision int8-symmetric"
        )


def _beside(source: Path, precision: str) -> Path:
    """Where the model goes if nobody says; a shipped one goes to the current folder."""
    if source.is_file():
        return source.with_suffix("")
    named = source if source.name.strip(".") else source.resolve()
    if not named.name:
        raise ExportUsageError(f"{source} has no name to put beside it: give --out")
    return named.with_name(f"{named.name}-{precision}")


@contextmanager
def _left(behind: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(behind) from error
