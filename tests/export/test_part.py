"""A graph that is cut out of another one."""

from __future__ import annotations

import numpy as np
import onnx

from deepmask.export.part import keep_outputs


def test_only_what_an_output_needs_is_kept() -> None:
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("Add", ["x", "one"], ["a"]),
            node("Mul", ["a", "two"], ["b"]),
            node("Mul", ["a", "one"], ["c"]),
        ],
        "example",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value(name, onnx.TensorProto.FLOAT, [1]) for name in ("b", "c")],
        [onnx.numpy_helper.from_array(np.ones(1, np.float32), name) for name in ("one", "two")],
    )
    model = onnx.helper.make_model(graph)
    keep_outputs(model, ["c"])
    assert [node.output[0] for node in model.graph.node] == ["a", "c"]
    assert [tensor.name for tensor in model.graph.initializer] == ["one"]
    assert [value.name for value in model.graph.output] == ["c"]
    onnx.checker.check_model(model, full_check=True)
