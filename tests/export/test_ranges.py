"""Values beyond float16's range, on pictures, before anyone runs an fp16 model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepmask.export.errors import ExportError
from deepmask.export.precision.calibration import Feed
from deepmask.export.precision.ranges import check_ranges, largest_value


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """y = -1000 x, through a table of integers' shape, which is no matter."""
    nodes = [
        helper.make_node("Mul", ["x", "thousand"], ["large"], "mul"),
        helper.make_node("Neg", ["large"], ["y"], "neg"),
        helper.make_node("Shape", ["large"], ["shape"], "shape"),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [1]),
    ]
    weights = [numpy_helper.from_array(np.array([1000], np.float32), "thousand")]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save_model(model, tmp_path / "trunk.onnx")
    return tmp_path / "trunk.onnx"


def feed(*values: float) -> Feed:
    return {"x": np.array(values, np.float32)}


def test_the_largest_value_of_all_pictures_is_found(graph: Path) -> None:
    assert largest_value(graph, [], [feed(1, 2), feed(-7), feed(3)]) == ("large", 7000)
    assert largest_value(graph, ["mul"], [feed(-7)]) == ("y", 7000)
    assert largest_value(graph, ["mul", "neg"], [feed(-7)]) == ("", 0)
    assert largest_value(graph, [], [feed(float("nan"))])[1] == float("inf")


def test_what_float16_cannot_hold_is_told(graph: Path) -> None:
    assert check_ranges(graph, [], [feed(16)], "the pictures") == ""
    warning = check_ranges(graph, [], [feed(17), feed(1)], "the pictures")
    assert warning.startswith(
        "Warning: trunk.onnx: the tensor large reaches 17000 on the pictures, near float16's 65504"
    )
    with pytest.raises(ExportError) as caught:
        check_ranges(graph, [], [feed(66)], "the pictures")
    assert str(caught.value).startswith(
        "trunk.onnx: the tensor large reaches 66000 on the pictures, beyond float16's 65504: use "
    )
