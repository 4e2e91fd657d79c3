"""From a checkpoint to a verified model folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from deepmask.export import parity
from deepmask.export.describe import THRESHOLD, describe
from deepmask.export.errors import ExportUsageError
from deepmask.export.folder import require_replaceable, staged
from deepmask.export.graphs import GraphSource, example_inputs, graph_sources
from deepmask.export.onnx_graph import to_onnx
from deepmask.export.score import INTERLEAVINGS
from deepmask.export.trunk import fold_batchnorm
from deepmask.export.weights import require_finite, round_to_half, store_as_half
from deepmask.runtime.manifest import (
    GRAPHS,
    Graph,
    Manifest,
    Scales,
    sha256_of,
    write_manifest,
)
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.config import ModelConfig

LONGEST_NAME = 200


@dataclass(frozen=True)
class ExportOptions:
    """What can be chosen about an export; None means the model's own default.

    name           the model's name in `model.json`; the checkpoint's file name by default.
    opset          ONNX operator set.
    weights        "fp32", or "fp16": stored rounded to float16, computed with in float32.
    interleaving   form of a pooled score head, one of `score.INTERLEAVINGS`; by default the first.
    dense_mask     also write `mask_dense.onnx`, masks of every location. It is compared like the
                   others, but the manifest does not list it: the runtime has no use for it.
    scales         pyramid scales the runtime uses by default.
    threshold      probability above which it counts a pixel as the object's.
    """

    name: str | None = None
    opset: int = 18
    weights: str = "fp32"
    interleaving: str | None = None
    dense_mask: bool = False
    scales: Scales | None = None
    threshold: float = THRESHOLD


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
    if len(name_of_model) > LONGEST_NAME:
        raise ExportUsageError(
            f"the name has {len(name_of_model)} letters, at most {LONGEST_NAME} are kept: "
            "give a shorter --name"
        )
    require_replaceable(out)
    loaded = load_checkpoint(checkpoint)
    if options.interleaving and loaded.model.score_head != "pooled":
        raise ExportUsageError(
            f"{checkpoint} has the {loaded.model.score_head} score head, which has no pooling to "
            "interleave: leave --interleave out"
        )
    original = loaded.build()
    require_finite(original.state_dict())
    folded = fold_batchnorm(original)
    exported = original
    if options.weights == "fp16":
        exported = folded = round_to_half(folded)
    interleaving = options.interleaving or INTERLEAVINGS[0]
    sources = graph_sources(folded, interleaving, options.dense_mask)
    with staged(out) as stage:
        for name, source in sources.items():
            path = stage / f"{name}.onnx"
            _write_graph(source, path, original.config, options)
            report(f"{path.name:<16}{path.stat().st_size / 1e6:8.1f} MB")
        deviations, rounding = parity.compare(stage, sources, exported, original)
        report(parity.as_table(deviations, rounding))
        parity.require_parity(deviations)
        graphs = {
            name: Graph(f"{name}.onnx", sha256_of(stage / f"{name}.onnx"), one.inputs, one.outputs)
            for name, one in sources.items()
            if name in GRAPHS
        }
        record = parity.as_record(deviations, rounding)
        manifest = describe(
            original.config,
            graphs,
            name=name_of_model,
            weights=options.weights,
            opset=options.opset,
            parity=record,
            scales=options.scales,
            threshold=options.threshold,
        )
        write_manifest(manifest, stage)
    return manifest


def _write_graph(
    source: GraphSource, path: Path, config: ModelConfig, options: ExportOptions
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
