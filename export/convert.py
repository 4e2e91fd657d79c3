"""From an exported model folder to one of lower precision, without its checkpoint.

Whoever has only the exported model, the shipped one say, gets its fp16 and int8 forms too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from deepmask.export.coarse import COARSE_GRAPHS
from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.export.folder import DENSE_MASK, require_replaceable, staged
from deepmask.export.onnx_graph import name_nodes
from deepmask.export.options import ExportOptions, check_name, check_precision
from deepmask.export.precision.calibration_set import choose_photographs
from deepmask.export.precision.reduce import FP32, write_reduced
from deepmask.export.weights import store_as_single
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.errors import one_line
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.manifest import Graph, Manifest, load_manifest, write_manifest
from deepmask.runtime.predict.deepmask import DeepMask


def lower_model(
    source: Path,
    out: Path,
    options: ExportOptions,
    report: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Write the model folder `source`, which computes in float32, to `out` in another precision.

    Of `options`, name, precision and photographs count: the rest is the model's own.
    Raises `ExportUsageError` for a folder that cannot be the source or must not be replaced,
    `ModelFolderError` for one that is not what its `model.json` says, and `ExportError` for graphs
    that cannot be converted.
    """
    require_replaceable(out)
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
    if (source / DENSE_MASK).exists():
        report(f"{DENSE_MASK} is left out: it is made of a checkpoint")
    with staged(out) as stage:
        reference = stage / FP32
        reference.mkdir()
        try:
            _write_single(manifest, source, reference)
            lowered = write_reduced(reference, stage, options.precision, photographs, report)
        except Exception as error:  # those of onnx and its quantiser share no base class
            raise ExportError(
                f"{source}: its graphs cannot be made {options.precision}: {one_line(error)}"
            ) from error
        shutil.rmtree(reference)
    return lowered


def _checked(source: Path) -> Manifest:
    """The model's manifest, once its graphs have shown that they load."""
    manifest = load_manifest(source)
    if manifest.precision != FP32:
        raise ExportUsageError(
            f"{source} computes in {manifest.precision} already: give the fp32 model, or the "
            "checkpoint"
        )
    if manifest.coarse and (strange := sorted(set(manifest.coarse.graphs) - set(COARSE_GRAPHS))):
        raise ExportUsageError(
            f"{source}: its coarse form has a {strange[0]} graph of its own, which no export writes"
        )
    try:
        for coarse in (False, True) if manifest.coarse else (False,):
            DeepMask.load(source, engine="onnxruntime", device="cpu", coarse=coarse).close()
    except EngineError as error:
        raise ExportUsageError(str(error)) from error
    return manifest


def _write_single(manifest: Manifest, source: Path, folder: Path) -> None:
    """The model in `folder`, files and nodes named as in every export, its weights float32."""
    graphs = {
        name: _write_graph(graph, source, folder, name) for name, graph in manifest.graphs.items()
    }
    coarse = manifest.coarse
    if coarse is not None:
        coarse = replace(coarse, graphs=_coarse_graphs(coarse.graphs, source, folder))
    write_manifest(replace(manifest, weights=FP32, graphs=graphs, coarse=coarse), folder)


def _coarse_graphs(graphs: Mapping[str, Graph], source: Path, folder: Path) -> dict[str, Graph]:
    return {
        name: _write_graph(graph, source, folder, COARSE_GRAPHS[name])
        for name, graph in graphs.items()
    }


def _write_graph(graph: Graph, source: Path, folder: Path, name: str) -> Graph:
    file = f"{name}.onnx"
    model = onnx.load(source / graph.file)
    store_as_single(model)
    name_nodes(model)
    onnx.save_model(model, folder / file)
    return replace(graph, file=file, sha256=sha256_of(folder / file))
