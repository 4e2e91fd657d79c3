"""From an exported model folder to one of lower precision, without its checkpoint.

Whoever has only the exported model, the shipped one say, gets its fp16 and int8 forms too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.export.folder import require_replaceable, staged
from deepmask.export.options import ExportOptions, check_name, check_precision
from deepmask.export.precision.calibration_set import choose_photographs
from deepmask.export.precision.reduce import FP32, write_reduced
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.errors import one_line
from deepmask.runtime.model.folder import load_manifest, with_checksums, write_manifest
from deepmask.runtime.model.half_graph import name_nodes, store_as_single
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.progress import Progress, no_progress


def convert_model(
    source: Path,
    out: Path,
    options: ExportOptions,
    report: Callable[[str], None] = lambda line: None,
    progress: Progress = no_progress,
) -> Manifest:
    """Write the model folder `source`, which computes in float32, to `out` in another precision.

    Of `options`, name, precision and photographs count: the rest is the model's own.
    Raises `ExportUsageError` for a folder that cannot be the source or must not be replaced,
    `ModelFolderError` for one that is not what its `model.json` says, and `ExportError` for graphs
    that cannot be converted.
    """
    require_replaceable(out, options.force)
    manifest = _checked(source)
    if options.precision == FP32:
        raise ExportUsageError(
            f"{source} is exported already: give --precision fp16, int8 or int8-symmetric, or a "
            "checkpoint"
        )
    if source.resolve() == out.resolve():
        raise ExportUsageError(f"{out} is the model itself: give another --out")
    check_precision(options)
    manifest = replace(manifest, name=options.name or manifest.name)
    check_name(manifest.name)
    photographs = None
    if options.photographs is not None:
        photographs = choose_photographs(options.photographs, report)
    with staged(out, options.force) as stage:
        reference = stage / FP32
        reference.mkdir()
        try:
            _write_single(manifest, source, reference)
            lowered = write_reduced(
                reference, stage, options.precision, photographs, report, progress
            )
        except Exception as error:  # those of onnx and its quantiser share no base class
            raise ExportError(
                f"{source}: its graphs cannot be made {options.precision}: {one_line(error)}"
            ) from error
        shutil.rmtree(reference)
    return lowered


def _checked(source: Path) -> Manifest:
    """Return the model's manifest, once its graphs have shown that they load."""
    manifest = load_manifest(source)
    if manifest.precision != FP32:
        raise ExportUsageError(
            f"{source} computes in {manifest.precision} already: give the fp32 model, or the "
            "checkpoint"
        )
    try:
        for coarse in (False, True) if manifest.coarse else (False,):
            DeepMask.load(source, engine="onnxruntime", device="cpu", coarse=coarse).close()
    except EngineError as error:
        raise ExportUsageError(str(error)) from error
    return manifest


def _write_single(manifest: Manifest, source: Path, folder: Path) -> None:
    """Write the model to `folder` with float32 weights and names for all nodes."""
    for file in manifest.files():
        model = onnx.load(source / file)
        store_as_single(model)
        name_nodes(model)
        onnx.save_model(model, folder / file)

    about = {**manifest.about, "weights": FP32}
    write_manifest(with_checksums(replace(manifest, about=about), folder), folder)
