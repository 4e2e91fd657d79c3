"""Emulate in float32 what a GPU's lower precisions make of a graph, so that a CPU can measure it.

tf32       products of values that keep 10 bits of their mantissas; sums and all else in float32.
fp16       the same, and every tensor keeps 10 bits, but for layers that an fp16 export spares.
fp16-sums  that, and sums of products too: each 16 are added in float32, to what has 10 bits.

float16's range is not emulated: an fp16 export tells what goes beyond it. ONNX Runtime's own fp16
on CPUs (1.31) computes in float32 from layer to layer and does not round, so it shows none of this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from benchmarks.emulate_sums import in_steps, rounding

TF32, FP16, FP16_SUMS = "tf32", "fp16", "fp16-sums"
FORMS = (TF32, FP16, FP16_SUMS)
#: x·S - (x·S - x) keeps 24 - 13 bits of a float32's 24, rounded to even (Veltkamp).
_SPLIT = np.float32(2**13 + 1)
#: The name of that number in graphs.
SPLIT = "emulation.split"
_LINEAR = ("Conv", "Gemm", "MatMul")
#: Operators that make values out of others: what the rest gives out, it was given.
_COMPUTING = {
    *_LINEAR,
    *("Add", "Sub", "Mul", "Div", "Exp", "Log", "Sqrt", "Pow", "Sigmoid", "Softplus", "Tanh"),
    *("AveragePool", "GlobalAveragePool", "Resize", "ReduceSum", "ReduceMean"),
    *("ReduceLogSumExp", "Softmax", "BatchNormalization", "LayerNormalization"),
}

Array = npt.NDArray[np.float32]


def rounded(values: Array) -> Array:
    """Return float32 values with 10 explicit bits of mantissa, rounded to even."""
    large = values * _SPLIT
    return large - (large - values)


def emulate(model: onnx.ModelProto, form: str, spared: Collection[str]) -> None:
    """Change a float32 graph, whose nodes have names, to compute as `form` does.

    spared   names of nodes that an fp16 export leaves in float32.
    """
    graph = model.graph
    kinds = _element_types(model)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    out = _Nodes(kinds)
    for node in graph.node:
        keep = form != TF32 and node.name in spared
        floats = kinds.get(node.output[0]) == TensorProto.FLOAT
        if node.op_type in _LINEAR and not keep:
            for index, name in enumerate(node.input[:2]):
                if name in weights:
                    _round_weight(weights[name])
                elif form == TF32 or name in _inputs(graph):
                    node.input[index] = out.rounding_of(name)
        steps = None
        if form == FP16_SUMS and not keep and node.op_type in _LINEAR and node.input[1] in weights:
            steps = in_steps(node, numpy_helper.to_array(weights[node.input[1]]), SPLIT)
        if steps is not None:
            out.nodes += steps.nodes
            out.weights += steps.weights
        else:
            rounds = form != TF32 and not keep and floats and node.op_type in _COMPUTING
            out.add(node, rounds)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(out.nodes)
    graph.initializer.extend(out.weights)


class _Nodes:
    """The nodes of a new graph, and the weights that they need beside those of the old one."""

    def __init__(self, kinds: dict[str, int]) -> None:
        self.nodes: list[NodeProto] = []
        self.weights = [numpy_helper.from_array(np.array(_SPLIT), SPLIT)]
        self._rounded: dict[str, str] = {}
        self._kinds = kinds

    def add(self, node: NodeProto, rounds: bool) -> None:
        """Add a node; its output is rounded, and keeps its name, if wanted."""
        if not rounds:
            self.nodes.append(node)
            return
        name = node.output[0]
        node.output[0] = f"{name}.exact"
        self.nodes.append(node)
        self._round(node.output[0], name)

    def rounding_of(self, name: str) -> str:
        """Return the name of a tensor's rounded form."""
        if name not in self._rounded:
            self._rounded[name] = f"{name}.rounded"
            self._round(name, self._rounded[name])
        return self._rounded[name]

    def _round(self, source: str, target: str) -> None:
        self.nodes += rounding(source, target, SPLIT)


def _round_weight(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.float32:
        tensor.CopyFrom(numpy_helper.from_array(rounded(values), tensor.name))


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _inputs(graph: onnx.GraphProto) -> Iterable[str]:
    return {value.name for value in graph.input}
