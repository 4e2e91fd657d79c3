"""fp16: a float32 graph as one that computes in float16 and says so in the type of every tensor.

Inputs and outputs stay float32, and an engine that takes types as they stand (TensorRT's strongly
typed networks) computes in float16 without being told. A Cast stands only where the type changes:
onnxruntime.transformers.float16 (1.31) also rounds between neighbours that both stay in float32.

This needs the library `onnx`, and is imported where a graph is to be changed.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from deepmask.runtime.model.manifest import Stage
from deepmask.runtime.model.spared_layers import layers_of, score_tail
from deepmask.runtime.validation import ContentError

_SUFFIX: dict[int, str] = {TensorProto.FLOAT: ".float", TensorProto.FLOAT16: ".half"}
#: Roles of layers that stay in float32: pixel values have more digits than float16, and the ranking
#: hangs on the score's last layers, and what becomes of it.
_KEPT = ("normalisation", "hidden_score", "score")
#: Inputs that are float32 whatever type the operator computes in: the scales of a Resize.
_ALWAYS_FLOAT32 = {"Resize": (2,)}


def half_form(content: bytes, stage: Stage) -> bytes:
    """Return the float16 form of a stage's float32 graph; both are the content of a file.

    Raises `ContentError` for weights beyond float16's range.
    """
    model = onnx.load_from_string(content)
    store_as_single(model)
    name_nodes(model)
    _Conversion(model, spared_by(model, stage)).run()
    made: bytes = model.SerializeToString()
    return made


def spared_by(model: onnx.ModelProto, stage: Stage) -> list[str]:
    """Return the names of the nodes of a stage's graph that stay in float32."""
    return [*layers_of(model, stage, *_KEPT), *score_tail(model, stage)]


def name_nodes(model: onnx.ModelProto) -> None:
    """Name the nodes, unless all have names: ONNX asks for none, lower precisions go by them."""
    if not all(node.name for node in model.graph.node):
        for index, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{index}"


def store_as_single(model: onnx.ModelProto) -> None:
    """Undo `store_as_half`: initialisers as float32 where a Cast made them that. Same values."""
    halves = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT16
    }
    nodes, singles = [], []
    for node in model.graph.node:
        if _casts_to_single(node) and node.input[0] in halves:
            full = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            singles.append(numpy_helper.from_array(full, node.output[0]))
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    needed = {name for node in nodes for name in node.input}
    kept = [
        onnx.TensorProto.FromString(tensor.SerializeToString())
        for tensor in model.graph.initializer
        if tensor.name in needed
    ]
    for field, values in (("node", nodes), ("initializer", [*kept, *singles])):
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(values)


def _casts_to_single(node: onnx.NodeProto) -> bool:
    to = [attribute.i for attribute in node.attribute if attribute.name == "to"]
    return node.op_type == "Cast" and to == [onnx.TensorProto.FLOAT]


class _Conversion:
    """One pass over the nodes of a graph without subgraphs, in their order.

    `_held` is the type that each floating-point tensor has in the new graph, `_copies` its name in
    another type.
    """

    def __init__(self, model: onnx.ModelProto, spared: Collection[str]) -> None:
        self._graph = model.graph
        self._spared = spared
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output}
        self._held = dict.fromkeys(_float_tensors(model), TensorProto.FLOAT)
        self._copies: dict[tuple[str, int], str] = {}
        self._nodes: list[NodeProto] = []
        self._initialisers: dict[str, TensorProto] = {}

    def run(self) -> None:
        for node in list(self._graph.node):
            self._convert(node)
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(self._initialisers.values())

    def _convert(self, node: NodeProto) -> None:
        kind = TensorProto.FLOAT if node.name in self._spared else TensorProto.FLOAT16
        for k, name in enumerate(node.input):
            if k in _ALWAYS_FLOAT32.get(node.op_type, ()):
                node.input[k] = self._fixed(name)
            elif name in self._weights:
                node.input[k] = self._weight(name, kind)
            elif name in self._held and node.op_type != "Shape":
                node.input[k] = self._as_type(name, kind)
        if kind == TensorProto.FLOAT16:
            _retype(node)
        self._nodes.append(node)
        for k, name in enumerate(node.output):
            if name not in self._held or kind == TensorProto.FLOAT:
                continue
            if name in self._outputs:
                node.output[k] = self._copies[name, kind] = name + _SUFFIX[kind]
                self._cast(node.output[k], name, TensorProto.FLOAT)
            else:
                self._held[name] = kind

    def _as_type(self, name: str, kind: int) -> str:
        """Return the tensor `name` in type `kind`, cast where it is first needed so."""
        if self._held[name] == kind:
            return name
        if (name, kind) not in self._copies:
            self._copies[name, kind] = name + _SUFFIX[kind]
            self._cast(name, self._copies[name, kind], kind)
        return self._copies[name, kind]

    def _cast(self, source: str, target: str, kind: int) -> None:
        cast = onnx.helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind)
        self._nodes.append(cast)

    def _fixed(self, name: str) -> str:
        """Return an input whose type is part of its operator: as it was, or cast back."""
        if name in self._weights:
            return self._weight(name, TensorProto.FLOAT)
        return self._as_type(name, TensorProto.FLOAT) if name in self._held else name

    def _weight(self, name: str, kind: int) -> str:
        """Return the initialiser `name`, in `kind` if it holds floating-point values."""
        tensor = self._weights[name]
        if tensor.data_type == TensorProto.FLOAT and kind == TensorProto.FLOAT16:
            name += _SUFFIX[kind]
            if name not in self._initialisers:
                tensor = _rounded(tensor, name)
        self._initialisers.setdefault(name, tensor)
        return name


def _retype(node: NodeProto) -> None:
    """Let a node whose attributes say float32 make float16."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_rounded(attribute.t, attribute.t.name))


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}


def _rounded(tensor: TensorProto, name: str) -> TensorProto:
    with np.errstate(over="ignore"):
        half = numpy_helper.to_array(tensor).astype(np.float16)
    if not np.isfinite(half).all():
        raise ContentError(f"weight {tensor.name} is beyond float16's range: use --precision fp32")
    return numpy_helper.from_array(half, name)
