"""ONNX bytes as a stranger may spell them: nothing reaches beyond the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepmask.runtime.model.graph_file import check_graph_file
from deepmask.runtime.model.shipped import shipped_model, shipped_names
from deepmask.runtime.validation import ContentError

SECRET = np.arange(4, dtype=np.float32)


def external(location: str = "secret.bin") -> TensorProto:
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value=location)
    return tensor


def varint(value: int, padding: int = 0) -> bytes:
    """A number as protobuf writes it, with bytes more than it needs."""
    digits: list[int] = []
    while value or not digits:
        digits.append(value & 0x7F)
        value >>= 7
    digits += [0] * padding
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def field(number: int, content: bytes, padding: int = 0) -> bytes:
    """A field of bytes, its tag and length in as many bytes as asked for."""
    return varint(number << 3 | 2, padding) + varint(len(content), padding) + content


def model(*, initialiser: TensorProto | None = None, node: onnx.NodeProto | None = None) -> bytes:
    """`y = x + w` as a file's bytes, `w` of whatever kind."""
    nodes = [*([node] if node else []), helper.make_node("Add", ["x", "w"], ["y"])]
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    weights = [] if initialiser is None else [initialiser]
    graph = helper.make_graph(nodes, "g", edges[:1], edges[1:], weights)
    opset = [helper.make_opsetid("", 18)]
    proto: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return proto


def constant(**attribute: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], **attribute)


def in_a_loop() -> bytes:
    body = helper.make_graph([constant(value=external())], "b", [], [])
    return model(node=helper.make_node("If", ["c"], ["w"], then_branch=body, else_branch=body))


def in_a_function() -> bytes:
    proto = onnx.ModelProto.FromString(model())
    function = proto.functions.add(name="F", domain="here", output=["w"])
    function.node.append(constant(value=external()))
    return bytes(proto.SerializeToString())


def in_training() -> bytes:
    proto = onnx.ModelProto.FromString(model())
    proto.training_info.add().algorithm.initializer.append(external())
    return bytes(proto.SerializeToString())


def sparse() -> bytes:
    tensor = onnx.SparseTensorProto(dims=[4], values=external())
    tensor.indices.CopyFrom(numpy_helper.from_array(np.arange(4)))
    return model(node=constant(sparse_value=tensor))


def padded() -> bytes:
    """The value stands before its key, and tags and lengths are longer than they need be."""
    proto = onnx.ModelProto.FromString(model())
    bare = external()
    del bare.external_data[:]
    entry = field(2, b"secret.bin", 1) + field(1, b"location", 2)
    tensor = bare.SerializeToString() + field(13, entry, 1)
    graph = proto.graph.SerializeToString() + field(5, tensor, 2)
    proto.ClearField("graph")
    return bytes(field(7, graph, 3) + proto.SerializeToString())


def split() -> bytes:
    """The graph in two pieces, which parsers put together."""
    piece = onnx.GraphProto()
    piece.initializer.append(external())
    return model() + field(7, piece.SerializeToString())


#: Where weights outside of the file may be told of. onnxruntime reads the first.
READ = {"plain": lambda: model(initialiser=external()), "padded": padded, "split": split}
OTHER = {
    "memory": lambda: model(initialiser=external("*/_ORT_MEM_ADDR_/*")),
    "constant": lambda: model(node=constant(value=external())),
    "sparse": sparse,
    "loop": in_a_loop,
    "function": in_a_function,
    "training": in_training,
}


@pytest.mark.parametrize("spelling", [*READ, *OTHER])
def test_nothing_lies_elsewhere(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "g.onnx").write_bytes({**READ, **OTHER}[spelling]())
    with pytest.raises(ContentError, match="which is not accepted"):
        check_graph_file(tmp_path / "g.onnx")


@pytest.mark.parametrize("spelling", list(READ))
def test_the_danger_is_real(tmp_path: Path, spelling: str) -> None:
    """onnxruntime does read these: a refusal of what it ignores would prove nothing."""
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    (tmp_path / "g.onnx").write_bytes(READ[spelling]())
    session = ort.InferenceSession(str(tmp_path / "g.onnx"))
    [found] = session.run(None, {"x": np.zeros(4, np.float32)})
    assert np.array_equal(found, SECRET)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x0b\x0c", "no field at byte"),  # a group
        (b"\x02\x00", "no field at byte"),  # field 0
        (varint(1 << 35 | 7 << 3 | 2) + b"\x00", "no field at byte"),  # a tag of 36 bits
        (b"\x3a\x05abc", "cut short: 5 bytes are missing"),
        (b"\x3a", "cut short at byte 1"),
        (b"\x08" + b"\xff" * 12, "no number at byte"),
        (b"\x08\x01" * 1_000_001, "more than 1000000 fields"),
        (
            model(node=helper.make_node("EPContext", [], ["w"], domain="com.x")),
            "b'com.x', which is not",
        ),
    ],
)
def test_bytes_that_are_no_plain_graph(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(ContentError, match=re.escape(text)):
        check_graph_file(tmp_path / "g.onnx")


def test_whole_graphs_pass(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(model(initialiser=numpy_helper.from_array(SECRET, "w")))
    check_graph_file(tmp_path / "g.onnx")
    for name in shipped_names():
        for path in shipped_model(name).glob("*.onnx"):
            check_graph_file(path)
