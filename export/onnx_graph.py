"""Make plain ONNX graphs of PyTorch modules, and cut graphs out of others."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from deepmask.export.errors import ExportError
from deepmask.networks.dense.graphs import DenseGraph

PRODUCER = "deepmask-export"
#: What one protobuf message, and so one ONNX file without external data, can hold.
LARGEST_GRAPH = 2**31 - 2**20
#: Most multiples that a canvas may have along a side: more than fit into memory.
_MOST_CELLS = 2**20


def to_onnx(
    source: DenseGraph, examples: Sequence[Tensor], opset: int, multiple: int = 1
) -> onnx.ModelProto:
    """Trace a dense graph and return it as ONNX.

    examples  have the inputs' shapes for some picture; axes that are no fixed size stay dynamic.
    multiple  that heights and widths of canvases are of. A graph that adds a map to one of half
              its size, enlarged, cannot be traced without.
    Raises `ExportError` for weights beyond 2 GB, and for one that is named as an input or output.
    """
    size = sum(parameter.nbytes for parameter in source.module.parameters())
    if size > LARGEST_GRAPH:
        raise ExportError(
            f"the graph of {', '.join(source.outputs)} would be {size / 1e9:.1f} GB, and one ONNX "
            "file holds at most 2: make the model smaller, a DeepMask by a low-rank mask head or "
            "fewer channels"
        )
    weights = dict([*source.module.named_parameters(), *source.module.named_buffers()])
    clashes = sorted(weights.keys() & {*source.inputs, *source.outputs})
    if clashes:
        raise ExportError(
            f"the {source.name} graph has a weight and a tensor at its edge that are both named "
            f"{clashes[0]}: give one of them another name"
        )
    sides = {
        axis: multiple * torch.export.Dim(f"cells_{axis}", max=_MOST_CELLS)
        for axis in (("height", "width") if multiple > 1 else ())
    }
    dynamic = tuple(
        {
            index: sides.get(axis, torch.export.Dim.DYNAMIC)
            for index, axis in enumerate(spec.axes)
            if isinstance(axis, str)
        }
        for spec in source.inputs.values()
    )
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            source.module.eval(),
            tuple(examples),
            input_names=list(source.inputs),
            output_names=list(source.outputs),
            dynamic_shapes=dynamic,
            opset_version=opset,
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    strip(graph)
    _declare(graph, source)
    return graph


def strip(model: onnx.ModelProto) -> None:
    """Remove what exporters and converters add of their own: stack traces, file names, notes."""
    model.producer_name, model.producer_version = PRODUCER, ""
    graph = model.graph
    del graph.value_info[:]
    for one in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        one.doc_string = ""
        del one.metadata_props[:]


def write_part(source: Path, target: Path, outputs: Collection[str]) -> None:
    """Write the part of an ONNX file that makes `outputs`, some of its own, to the bit.

    A refined model's trunk makes its skip maps in one pass with the features. Not to pay for them
    under `--coarse` takes a trunk without them.
    """
    graph = onnx.load(source)
    keep_outputs(graph, outputs)
    onnx.save_model(graph, target)
    onnx.checker.check_model(target, full_check=True)


def keep_outputs(model: onnx.ModelProto, outputs: Collection[str]) -> None:
    """Remove all outputs but these, and every node and weight that only the others need."""
    graph = model.graph
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):  # they stand in the order they run in
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    _keep(graph.node, nodes[::-1])
    _keep(graph.output, [value for value in graph.output if value.name in outputs])
    _keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    _keep(graph.value_info, [value for value in graph.value_info if value.name in needed])


def _keep(field: Any, chosen: Sequence[Any]) -> None:
    """Leave these values in a repeated field: as copies, for they go when it is emptied."""
    copies = [type(value).FromString(value.SerializeToString()) for value in chosen]
    del field[:]
    field.extend(copies)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its notes on missing libraries from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _declare(model: onnx.ModelProto, source: DenseGraph) -> None:
    """Name the dynamic axes of inputs and outputs as `model.json` does.

    Each axis "any" gets a name of its own: engines take axes of one name for equally long.
    """
    specs = {**source.inputs, **source.outputs}
    for value in [*model.graph.input, *model.graph.output]:
        shape = value.type.tensor_type.shape
        for index, (axis, dim) in enumerate(zip(specs[value.name].axes, shape.dim, strict=True)):
            if isinstance(axis, str):
                dim.Clear()
                dim.dim_param = f"{value.name}.{index}" if axis == "any" else axis
