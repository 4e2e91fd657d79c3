"""The types that an ONNX graph itself gives its layers: what TensorRT has to keep to.

Read from the file, without asking TensorRT, so that what it makes of the graph can be compared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from deepmask.runtime.model.graph_file import fields_of
from deepmask.runtime.validation import ContentError

#: Operators that become convolutions and matrix products.
_COUNTED = (b"Conv", b"Gemm", b"MatMul")
#: `TensorProto.DataType` → our names.
_TYPES = {1: "fp32", 3: "int8", 10: "fp16", 16: "bf16"}
#: Fields of onnx.proto: of a model, a graph, a node, an attribute and a tensor.
_GRAPH, _NODE, _INITIALISER = 7, 1, 5
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_NUMBER = 1, 3
_TENSOR_TYPE, _TENSOR_NAME = 2, 8


@dataclass
class _Node:
    operator: bytes = b""
    inputs: list[bytes] = field(default_factory=list)
    cast_to: int = 0


def marked_types(graph: bytes) -> dict[str, int]:
    """How many convolutions and matrix products of an ONNX file have weights of each type.

    One whose input comes out of a dequantisation is int8. A file that is no ONNX has none: it is
    for TensorRT's parser to say what is wrong with it.
    """
    try:
        types, makers, counted = _read(graph)
    except ContentError:
        return {}
    counts: Counter[str] = Counter()
    for node in counted:
        source, weight = (*node.inputs, b"", b"")[:2]
        maker = makers.get(weight, _Node())
        if makers.get(source, _Node()).operator == b"DequantizeLinear":
            counts["int8"] += 1
        else:
            counts[_TYPES.get(types.get(weight, maker.cast_to), "another type")] += 1
    return dict(counts)


def _read(graph: bytes) -> tuple[dict[bytes, int], dict[bytes, _Node], list[_Node]]:
    """The types of initialisers, the nodes by what they make, and those that are counted."""
    types: dict[bytes, int] = {}
    makers: dict[bytes, _Node] = {}
    counted: list[_Node] = []
    for number, start, stop in fields_of(graph, 0, len(graph)):
        if number != _GRAPH or not stop:
            continue
        for inner, begin, end in fields_of(graph, start, stop):
            if inner == _INITIALISER and end:
                found = _values(graph, begin, end)
                types[_text(graph, found[_TENSOR_NAME])] = _number(found[_TENSOR_TYPE])
            elif inner == _NODE and end:
                node, outputs = _node(graph, begin, end)
                makers.update(dict.fromkeys(outputs, node))
                if node.operator in _COUNTED:
                    counted.append(node)
    return types, makers, counted


def _node(graph: bytes, start: int, stop: int) -> tuple[_Node, list[bytes]]:
    found = _values(graph, start, stop)
    node = _Node(_text(graph, found[_OPERATOR]), [graph[a:b] for a, b in found[_INPUT]])
    for a, b in found[_ATTRIBUTE]:
        attribute = _values(graph, a, b)
        if node.operator == b"Cast" and _text(graph, attribute[_ATTRIBUTE_NAME]) == b"to":
            node.cast_to = _number(attribute[_ATTRIBUTE_NUMBER])
    return node, [graph[a:b] for a, b in found[_OUTPUT]]


def _values(graph: bytes, start: int, stop: int) -> defaultdict[int, list[tuple[int, int]]]:
    """Fields of one message by number: where each lies, or the number that it is and 0."""
    found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, value, end in fields_of(graph, start, stop):
        found[number].append((value, end))
    return found


def _number(found: list[tuple[int, int]]) -> int:
    return found[-1][0] if found else 0


def _text(graph: bytes, found: list[tuple[int, int]]) -> bytes:
    return graph[slice(*found[-1])] if found else b""
