"""The types that a graph gives its layers, read from its file."""

from __future__ import annotations

from typing import Any

import pytest

from deepmask.runtime.engines.tensorrt.onnx_types import marked_types

onnx = pytest.importorskip("onnx")


def graph(*nodes: Any, **weights: int) -> bytes:
    """An ONNX file with those nodes, and weights of those types."""
    values = [onnx.helper.make_tensor(name, kind, [1], [1]) for name, kind in weights.items()]
    made = onnx.helper.make_graph([onnx.helper.make_node(*one) for one in nodes], "g", [], [])
    made.initializer.extend(values)
    return bytes(onnx.helper.make_model(made).SerializeToString())


FLOAT, HALF, INT8 = 1, 10, 3


def test_layers_are_counted_by_their_weights() -> None:
    content = graph(
        ("Conv", ["x", "w"], ["a"]),
        ("Relu", ["a"], ["b"]),
        ("Gemm", ["b", "h", "w"], ["c"]),
        ("MatMul", ["c", "h"], ["d"]),
        ("Conv", ["d", "unknown"], ["e"]),
        w=FLOAT,
        h=HALF,
    )
    assert marked_types(content) == {"fp32": 1, "fp16": 2, "another type": 1}


def test_weights_that_are_stored_in_less_count_as_what_they_are_cast_to() -> None:
    cast = onnx.helper.make_node("Cast", ["h"], ["w"], to=FLOAT)
    layer = onnx.helper.make_node("Conv", ["x", "w"], ["a"])
    made = onnx.helper.make_graph([cast, layer], "g", [], [])
    made.initializer.append(onnx.helper.make_tensor("h", HALF, [1], [1]))
    assert marked_types(onnx.helper.make_model(made).SerializeToString()) == {"fp32": 1}


def test_what_reads_dequantised_values_is_int8() -> None:
    content = graph(
        ("DequantizeLinear", ["q", "s"], ["x"]),
        ("DequantizeLinear", ["r", "s"], ["w"]),
        ("Conv", ["x", "w"], ["a"]),
        ("Conv", ["a", "s"], ["b"]),
        q=INT8,
        r=INT8,
        s=FLOAT,
    )
    assert marked_types(content) == {"int8": 1, "fp32": 1}


@pytest.mark.parametrize("content", [b"", b"\0garbage", b"{}", b"\x3a\xff\xff\xff\xff\x0f"])
def test_of_what_is_no_graph_nothing_is_known(content: bytes) -> None:
    assert marked_types(content) == {}


def test_nodes_and_weights_that_lack_what_they_need_do_no_harm() -> None:
    made = onnx.helper.make_graph([onnx.NodeProto(op_type="Conv"), onnx.NodeProto()], "g", [], [])
    cast = onnx.NodeProto(op_type="Cast", output=["c"], attribute=[onnx.AttributeProto(name="to")])
    made.node.extend([cast, onnx.NodeProto(op_type="Gemm", input=["x", "c"])])
    made.initializer.append(onnx.TensorProto())
    content = onnx.helper.make_model(made).SerializeToString()
    assert marked_types(content) == {"another type": 2}


def test_a_graph_that_is_cut_short_is_none() -> None:
    content = graph(("Conv", ["x", "w"], ["a"]), w=FLOAT)
    assert marked_types(content) == {"fp32": 1}
    assert all(sum(marked_types(content[:end]).values()) <= 1 for end in range(len(content)))
