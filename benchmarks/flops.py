"""Count the multiply-adds of the exported graphs on the views of a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path

import onnx
from onnx import helper, numpy_helper, shape_inference
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

from deepmask.runtime.model.manifest import WINDOWS, Manifest, Stage
from deepmask.runtime.views.grids import axis_size
from deepmask.runtime.views.views import View

Shape = tuple[int, ...]

#: Position of the weight among the inputs of the operators that multiply.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1}
#: Constants of up to so many values may be sizes or axes, which shapes depend on; larger ones are
#: weights, of which only the shape counts.
_LARGEST_INDEX = 4096


def plan_gflop(
    folder: Path, manifest: Manifest, views: Sequence[View], windows: int
) -> dict[str, float]:
    """Return the GFLOP of each stage for one image: every view scored, `windows` segmented.

    A multiply-add is two operations; only convolutions and matrix products count. Where grids have
    mask stages of their own, each segments an equal part of the windows.
    """
    windows //= len(manifest.chains)
    return {
        stage.name: 2e-9 * _of_stage(folder, stage, manifest, views, windows)
        for stage in manifest.stages
    }


def multiply_adds(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]
) -> tuple[int, dict[str, Shape]]:
    """Count a graph's multiply-adds for inputs of these shapes; return its outputs' shapes too.

    An output whose shape cannot be inferred is left out.

    Raises `ValueError` naming an operator that multiplies and whose shapes cannot be inferred.
    """
    known = inferred(model, shapes)
    count = 0
    for node in model.graph.node:
        try:
            count += node_multiply_adds(node, known)
        except KeyError as error:
            raise ValueError(
                f"{node.op_type} {node.name}: the shape of {error} is unknown"
            ) from error
    names = [value.name for value in model.graph.output]
    return count, {name: known[name] for name in names if name in known}


def total_of_views(
    of_view: Callable[[View, int], int], per: str, views: Sequence[View], windows: int
) -> int:
    """Return the multiply-adds of a stage over all views, and over `windows` windows in them.

    of_view  gives those of one view and so many windows: a share of the view's, and an equal part
             for each window.
    """
    total = sum(of_view(view, 1) for view in views)
    if per == WINDOWS:
        one_window = of_view(views[0], 2) - of_view(views[0], 1)
        total += (windows - len(views)) * one_window
    return total


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


def _of_stage(
    folder: Path, stage: Stage, manifest: Manifest, views: Sequence[View], windows: int
) -> int:
    graph = without_weights(onnx.load(folder / stage.file))

    def of_view(view: View, count: int) -> int:
        shapes = {
            name: tuple(axis_size(axis, view, manifest, count) for axis in spec.axes)
            for name, spec in stage.inputs.items()
        }
        return multiply_adds(graph, shapes)[0]

    return total_of_views(of_view, stage.per, views, windows)


def node_multiply_adds(node: onnx.NodeProto, known: Mapping[str, Shape]) -> int:
    """Return the multiply-adds of one node; raises KeyError for a tensor of unknown shape."""
    if node.op_type in _CONVOLUTIONS:
        kernel = known[node.input[_CONVOLUTIONS[node.op_type]]]  # (out, in / groups, height, width)
        return prod(known[node.output[0]]) * prod(kernel[1:])
    if node.op_type in _PRODUCTS:
        right = known[node.input[_PRODUCTS[node.op_type]]]
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        return prod(known[node.output[0]]) * (right[-1] if turned else right[-2])
    return 0


def inferred(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """Return the shapes of all tensors that can be inferred for inputs of these shapes."""
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
