"""Count the multiply-adds of the exported graphs on a pyramid's canvases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import onnx
from onnx import helper, numpy_helper, shape_inference
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

from deepmask.runtime.model.manifest import GRAPHS, Manifest
from deepmask.runtime.views.pyramid import Level

Shape = tuple[int, ...]

#: Position of the weight among the inputs of the operators that multiply.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1}
#: Constants of up to so many values may be sizes or axes, which shapes depend on; larger ones are
#: weights, of which only the shape counts.
_LARGEST_INDEX = 4096


def plan_gflop(
    folder: Path, manifest: Manifest, levels: Sequence[Level], windows: int
) -> dict[str, float]:
    """Return the GFLOP of each graph for one image: every level scored, `windows` masks made.

    A multiply-add is two operations; only convolutions and matrix products count.
    """
    graphs = {
        name: without_weights(onnx.load(folder / manifest.graphs[name].file)) for name in GRAPHS
    }
    total = dict.fromkeys(GRAPHS, 0)
    one_window = 0
    for level in levels:
        shapes: dict[str, Shape] = {"image": (1, 3, level.canvas_height, level.canvas_width)}
        for name in ("trunk", "score"):
            count, made = multiply_adds(graphs[name], shapes)
            total[name] += count
            shapes |= made
        one, two = (
            multiply_adds(graphs["mask"], {**shapes, "locations": (n, 2)})[0] for n in (1, 2)
        )
        one_window = two - one
        total["mask"] += one - one_window  # what all windows of a level share
    total["mask"] += windows * one_window
    return {name: 2e-9 * count for name, count in total.items()}


def multiply_adds(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]
) -> tuple[int, dict[str, Shape]]:
    """Count a graph's multiply-adds for inputs of these shapes; return its outputs' shapes too.

    Raises `ValueError` naming an operator that multiplies and whose shapes cannot be inferred.
    """
    known = _inferred(model, shapes)
    count = 0
    for node in model.graph.node:
        try:
            count += _of_node(node, known)
        except KeyError as error:
            raise ValueError(
                f"{node.op_type} {node.name}: the shape of {error} is unknown"
            ) from error
    return count, {value.name: known[value.name] for value in model.graph.output}


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its weights as inputs: shapes only, quick to copy."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    kept = []
    for tensor in small.graph.initializer:
        if prod(tensor.dims) <= _LARGEST_INDEX:
            kept.append(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        else:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            small.graph.input.append(value)
    del small.graph.initializer[:]
    small.graph.initializer.extend(kept)
    return small


def _of_node(node: onnx.NodeProto, known: Mapping[str, Shape]) -> int:
    if node.op_type in _CONVOLUTIONS:
        kernel = known[node.input[_CONVOLUTIONS[node.op_type]]]  # (out, in / groups, height, width)
        return prod(known[node.output[0]]) * prod(kernel[1:])
    if node.op_type in _PRODUCTS:
        right = known[node.input[_PRODUCTS[node.op_type]]]
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        return prod(known[node.output[0]]) * (right[-1] if turned else right[-2])
    return 0


def _inferred(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name in shapes:
            dims = value.type.tensor_type.shape.dim
            for dim, length in zip(dims, shapes[value.name], strict=True):
                dim.Clear()
                dim.dim_value = length
    for value in fixed.graph.output:  # their declared names of axes would stand against lengths
        value.type.tensor_type.ClearField("shape")
    # ONNX's own inference does not follow sizes that are divided, as those of skip maps are.
    try:
        inferred = SymbolicShapeInference.infer_shapes(fixed, auto_merge=True).graph
    except Exception:  # of any kind, where a shape stays unknown: ONNX's leaves it out
        inferred = shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    known = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            known[value.name] = tuple(dim.dim_value for dim in dims)
    return known
