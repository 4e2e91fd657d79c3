"""Make a layer of a float32 graph add up as tensor cores do that sum in float16.

Its products are taken in steps: each step is summed in float32 and added to what was summed so far,
which keeps 10 bits. A Scan runs the steps, so that the graph stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

#: Products that are summed exactly before they meet what was summed so far.
STEP = 16


@dataclass(frozen=True)
class Steps:
    """Nodes that take a layer's place, and the weights that they read."""

    nodes: list[NodeProto]
    weights: list[TensorProto]


def in_steps(node: NodeProto, weight: npt.NDArray[Any], split: str) -> Steps | None:
    """Return a Conv, Gemm or MatMul in steps of `STEP` products; None where it is one step.

    weight  the layer's second input.
    split   the name of the number by which values are rounded, see `rounding`.
    Depthwise layers, of nine products, are one step.
    """
    options = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Conv":
        if options.get("group", 1) != 1:
            return None
        axis, values = 1, np.moveaxis(weight, 1, 0)  # input channels first
        width = max(1, STEP // int(np.prod(weight.shape[2:])))
    else:
        if options.get("transA", 0) or weight.ndim != 2:
            return None
        axis, width = -1, STEP
        values = weight.T if options.get("transB", 0) else weight
    if len(values) <= width:
        return None
    extra = -len(values) % width
    values = np.concatenate([values, np.zeros((extra, *values.shape[1:]), np.float32)])
    steps = values.reshape(-1, width, *values.shape[1:])
    if node.op_type == "Conv":
        steps = np.moveaxis(steps, 1, 2)  # as a Conv reads them
    return _Writer(node, split).write(axis, width, extra, np.ascontiguousarray(steps))


class _Writer:
    """Writes the nodes of one layer."""

    def __init__(self, node: NodeProto, split: str) -> None:
        self._node, self._split = node, split
        self._name = node.output[0]
        self.steps = Steps([], [])

    def write(self, axis: int, width: int, extra: int, weights: npt.NDArray[Any]) -> Steps:
        node, conv = self._node, self._node.op_type == "Conv"
        source = node.input[0]
        if extra:
            ends = np.array([0, extra])
            source = self._add("Pad", [source, self._constant(ends), "", self._constant([axis])])
        count = len(weights) - 1
        first = self._slice(source, 0, width, axis)
        rest = self._slice(source, width, width * (count + 1), axis)
        if conv:  # (N, C, H, W) to (N, steps, width, H, W)
            tail = self._add("Shape", [rest], start=2)
            shape = self._add("Concat", [self._constant([0, count, width]), tail], axis=0)
        else:  # (…, C) to (…, steps, width)
            head = self._add("Shape", [rest], end=-1)
            shape = self._add("Concat", [head, self._constant([count, width])], axis=0)
        stacked = self._add("Reshape", [rest, shape])

        begin = NodeProto()
        begin.CopyFrom(node)
        del begin.input[:]
        of_first = weights[0]
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            of_first = of_first.T
        begin.input.extend([first, self._constant(of_first), *node.input[2:]])
        begin.name, begin.output[0] = f"{self._name}.first", f"{self._name}.begin"
        self.steps.nodes.append(begin)
        rounded = f"{self._name}.rounded"
        self.steps.nodes.extend(rounding(begin.output[0], rounded, self._split))

        attributes = node.attribute if conv else ()
        scan = helper.make_node(
            "Scan",
            [rounded, stacked, self._constant(weights[1:])],
            [self._name],
            f"{self._name}.scan",
            num_scan_inputs=2,
            scan_input_axes=[1 if conv else -2, 0],
            body=_body("Conv" if conv else "MatMul", attributes, self._split),
        )
        self.steps.nodes.append(scan)
        return self.steps

    def _slice(self, source: str, start: int, stop: int, axis: int) -> str:
        ends = [self._constant([number]) for number in (start, stop, axis)]
        return self._add("Slice", [source, *ends])

    def _constant(self, value: npt.ArrayLike) -> str:
        name = f"{self._name}.c{len(self.steps.weights)}"
        array = np.ascontiguousarray(value)
        self.steps.weights.append(numpy_helper.from_array(array, name))
        return name

    def _add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{self._name}.n{len(self.steps.nodes)}"
        self.steps.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name


def rounding(source: str, target: str, split: str) -> list[NodeProto]:
    """Return nodes that keep 10 bits of a tensor's mantissas: x·S - (x·S - x), S = 2¹³ + 1."""
    large, rest = f"{target}.large", f"{target}.rest"
    return [
        helper.make_node("Mul", [source, split], [large], f"{target}.mul"),
        helper.make_node("Sub", [large, source], [rest], f"{target}.sub"),
        helper.make_node("Sub", [large, rest], [target], f"{target}.round"),
    ]


def _body(kind: str, attributes: Sequence[Any], split: str) -> Any:
    """What a step does: the sum so far, inputs and weights in, the new sum out."""
    step = helper.make_node(kind, ["values", "weights"], ["products"], "products")
    step.attribute.extend(attributes)
    add = helper.make_node("Add", ["sum", "products"], ["exact"], "exact")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in ("sum", "values", "weights", "next")
    ]
    nodes = [step, add, *rounding("exact", "next", split)]
    return helper.make_graph(nodes, "step", ends[:3], ends[3:])
