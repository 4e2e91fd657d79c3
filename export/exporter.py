"""From a checkpoint to a verified model folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from deepmask.export import parity
from deepmask.export.folder import require_replaceable, staged
from deepmask.export.onnx_graph import to_onnx, write_part
from deepmask.export.options import ExportOptions, check_name, check_precision, check_validation
from deepmask.export.precision.calibration_set import choose_photographs
from deepmask.export.precision.reduce import write_reduced
from deepmask.export.weights import require_finite, round_to_half, store_as_half
from deepmask.networks.dense.graphs import (
    DenseGraph,
    DenseModel,
    canvas_multiple,
    example_inputs,
    manifest_of,
)
from deepmask.networks.dense.trunk import fold_batchnorm
from deepmask.networks.families import dense_model, describe
from deepmask.runtime.model.folder import with_checksums, write_manifest
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.progress import Progress, no_progress
from deepmask.train.checkpoint import load_checkpoint, with_scores_of


def export_model(
    checkpoint: Path,
    out: Path,
    options: ExportOptions,
    report: Callable[[str], None] = lambda line: None,
    progress: Progress = no_progress,
) -> Manifest:
    """Write the model folder `out` from a checkpoint and return its manifest.

    report  is given lines of progress and the parity table.
    Raises `CheckpointError` for a file that is no checkpoint, `ExportUsageError` for a folder that
    must not be replaced, and `ExportError` for weights that are not finite or graphs that deviate;
    `out` is untouched then.
    """
    name = options.name or checkpoint.stem
    check_name(name)
    check_precision(options)
    check_validation(options)
    require_replaceable(out, options.force)
    photographs = None
    if options.photographs is not None:
        photographs = choose_photographs(options.photographs, report)
    validation = None
    if options.validation is not None and options.validation_images is not None:
        from deepmask.export.settings import read_validation, with_measured_settings

        validation = read_validation(options.validation, options.validation_images)
    loaded = load_checkpoint(checkpoint)
    if options.scores_from is not None:
        loaded = with_scores_of(loaded, load_checkpoint(options.scores_from))
    original = loaded.build()
    require_finite(original.state_dict())
    folded, network, exact = fold_batchnorm(original), dense_model(original), None
    if options.weights == "fp16":
        dense = dense_model(round_to_half(folded))
        network, exact = dense, network
    else:
        dense = dense_model(folded)
    description = describe(loaded.model).with_defaults(
        options.scales, options.threshold, options.overlap, options.scale_prior
    )
    sketch = manifest_of(dense, description, name=name, about={})
    with staged(out, options.force) as stage:
        folder = stage if options.precision == "fp32" else stage / "fp32"
        folder.mkdir(exist_ok=True)
        _write_graphs(folder, dense, sketch, options, report)
        deviations, rounding = parity.compare(folder, sketch, dense, network, exact)
        report(parity.as_table(deviations, rounding))
        parity.require_parity(deviations)
        about = {
            "weights": options.weights,
            "opset": options.opset,
            "parity": parity.as_record(deviations, rounding),
        }
        manifest = with_checksums(replace(sketch, about={**sketch.about, **about}), folder)
        write_manifest(manifest, folder)
        if validation is not None:
            manifest = with_measured_settings(
                manifest, folder, validation, options, report, progress
            )
            write_manifest(manifest, folder)
        if folder != stage:
            manifest = write_reduced(
                folder, stage, options.precision, photographs, report, progress
            )
            shutil.rmtree(folder)
    return manifest


def _write_graphs(
    folder: Path,
    dense: DenseModel,
    sketch: Manifest,
    options: ExportOptions,
    report: Callable[[str], None],
) -> None:
    for graph in dense.files():
        path = folder / f"{graph.file}.onnx"
        if graph.part_of:
            write_part(folder / f"{graph.part_of}.onnx", path, graph.outputs)
        else:
            _write_graph(graph, path, sketch, options)
        report(f"{path.name:<17}{path.stat().st_size / 1e6:7.1f} MB")


def _write_graph(graph: DenseGraph, path: Path, manifest: Manifest, options: ExportOptions) -> None:
    multiple = canvas_multiple(manifest.views)
    model = to_onnx(graph, example_inputs(graph, manifest), options.opset, multiple)
    if options.weights == "fp16":
        store_as_half(model)
    onnx.save_model(model, path)
    onnx.checker.check_model(path, full_check=True)
