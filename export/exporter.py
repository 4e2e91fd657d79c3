"""From a checkpoint to a verified model folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from deepmask.export import parity
from deepmask.export.coarse import COARSE_GRAPHS, COARSE_OUTPUTS, write_coarse_trunk
from deepmask.export.errors import ExportUsageError
from deepmask.export.folder import require_replaceable, staged
from deepmask.export.onnx_graph import to_onnx
from deepmask.export.options import ExportOptions, check_name, check_precision
from deepmask.export.precision.calibration_set import choose_photographs
from deepmask.export.precision.reduce import write_reduced
from deepmask.export.weights import require_finite, round_to_half, store_as_half
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.describe import describe
from deepmask.networks.dense.graphs import GraphSource, example_inputs, graph_sources
from deepmask.networks.dense.score import INTERLEAVINGS
from deepmask.networks.dense.trunk import fold_batchnorm
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.manifest import GRAPHS, Graph, Manifest, write_manifest
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.score_swap import with_scores_of


def export_model(
    checkpoint: Path,
    out: Path,
    options: ExportOptions,
    report: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Write the model folder `out` from a checkpoint and return its manifest.

    `report` is given lines of progress and the parity table. Raises `CheckpointError` for a file
    that is no checkpoint, `ExportUsageError` for a folder that must not be replaced, and
    `ExportError` for weights that are not finite or graphs that deviate; `out` is untouched then.
    """
    name_of_model = options.name or checkpoint.stem
    check_name(name_of_model)
    check_precision(options)
    require_replaceable(out)
    photographs = None
    if options.photographs is not None:
        photographs = choose_photographs(options.photographs, report)
    loaded = load_checkpoint(checkpoint)
    if options.scores_from is not None:
        loaded = with_scores_of(loaded, load_checkpoint(options.scores_from))
    assert isinstance(loaded.model, DeepMaskConfig)
    if options.interleaving and loaded.model.score_head != "pooled":
        raise ExportUsageError(
            f"{checkpoint} has the {loaded.model.score_head} score head, which has no pooling to "
            "interleave: leave --interleave out"
        )
    if options.dense_mask and isinstance(loaded.model, SharpMaskConfig):
        raise ExportUsageError(
            f"{checkpoint} has refined masks, which are made window by window: leave --dense-mask "
            "out"
        )
    original = loaded.build()
    assert isinstance(original, DeepMaskNetwork)
    require_finite(original.state_dict())
    folded = fold_batchnorm(original)
    exported = original
    if options.weights == "fp16":
        exported = folded = round_to_half(folded)
    interleaving = options.interleaving or INTERLEAVINGS[0]
    sources = graph_sources(folded, interleaving, options.dense_mask)
    with staged(out) as stage:
        if options.precision == "fp32":
            return _write_float(stage, sources, exported, original, name_of_model, options, report)
        reference = stage / "fp32"
        reference.mkdir()
        _write_float(reference, sources, exported, original, name_of_model, options, report)
        manifest = write_reduced(reference, stage, options.precision, photographs, report)
        shutil.rmtree(reference)
    return manifest


def _write_float(
    folder: Path,
    sources: Mapping[str, GraphSource],
    exported: DeepMaskNetwork,
    original: DeepMaskNetwork,
    name: str,
    options: ExportOptions,
    report: Callable[[str], None],
) -> Manifest:
    """The float32 graphs, compared with PyTorch, and their manifest."""
    for graph, source in sources.items():
        path = folder / f"{graph}.onnx"
        _write_graph(source, path, original.config, options)
        report(f"{path.name:<17}{path.stat().st_size / 1e6:7.1f} MB")
    if isinstance(original.config, SharpMaskConfig):
        path = write_coarse_trunk(folder)
        report(f"{path.name:<17}{path.stat().st_size / 1e6:7.1f} MB")
    deviations, rounding = parity.compare(folder, sources, exported, original)
    report(parity.as_table(deviations, rounding))
    parity.require_parity(deviations)
    graphs = {name: _described(folder, name, sources[name]) for name in GRAPHS}
    coarse = None
    if isinstance(original.config, SharpMaskConfig):
        trunk = replace(sources["trunk"], outputs=COARSE_OUTPUTS)
        coarse = {
            "trunk": _described(folder, COARSE_GRAPHS["trunk"], trunk),
            "mask": _described(folder, COARSE_GRAPHS["mask"], sources[COARSE_GRAPHS["mask"]]),
        }
    record = parity.as_record(deviations, rounding)
    manifest = describe(
        original.config,
        graphs,
        name=name,
        weights=options.weights,
        opset=options.opset,
        parity=record,
        scales=options.scales,
        threshold=options.threshold,
        overlap=options.overlap,
        scale_prior=options.scale_prior,
        coarse=coarse,
    )
    write_manifest(manifest, folder)
    return manifest


def _described(folder: Path, name: str, source: GraphSource) -> Graph:
    file = f"{name}.onnx"
    return Graph(file, sha256_of(folder / file), source.inputs, source.outputs)


def _write_graph(
    source: GraphSource, path: Path, config: DeepMaskConfig, options: ExportOptions
) -> None:
    examples = example_inputs(config)
    graph = to_onnx(
        source.module,
        [examples[name] for name in source.inputs],
        source.inputs,
        source.outputs,
        options.opset,
    )
    if options.weights == "fp16":
        store_as_half(graph)
    onnx.save_model(graph, path)
    onnx.checker.check_model(path, full_check=True)
