"""What rounding takes from a layer's mean, its bias gives back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto, helper, numpy_helper

from deepmask.export.precision.bias_correction import correct_biases
from deepmask.export.precision.int8 import quantise
from deepmask.runtime.model.manifest import VIEW, Stage, TensorSpec

Arrays = dict[str, npt.NDArray[np.float32]]
SIDE = 12
#: A wide layer, one of groups, and one that runs twice.
LAYERS = [
    helper.make_node("Conv", ["image", "wide", "b0"], ["x"], "wide"),
    helper.make_node("Relu", ["x"], ["r"], "relu"),
    helper.make_node("Conv", ["r", "grouped", "b1"], ["y"], "grouped", group=4),
    helper.make_node("Conv", ["y", "shared", "b2"], ["z"], "first"),
    helper.make_node("Conv", ["z", "shared", "b2"], ["out"], "second"),
]
SHAPES: dict[str, tuple[int, ...]] = {
    "wide": (8, 3, 3, 3),
    "grouped": (12, 2, 3, 3),
    "shared": (12, 12, 1, 1),
}


def model() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    shapes = SHAPES | {f"b{k}": (count,) for k, count in enumerate((8, 12, 12))}
    values = {name: random.normal(size=shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        LAYERS,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 12, SIDE - 4, SIDE - 4])],
        [numpy_helper.from_array(value.astype(np.float32), k) for k, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def feeds() -> list[Arrays]:
    random = np.random.default_rng(1)
    shape = (1, 3, SIDE, SIDE)
    return [{"image": random.uniform(0, 1, shape).astype(np.float32)} for _ in range(4)]


def weights(of: onnx.ModelProto) -> Arrays:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in of.graph.initializer}


def rounded(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    result: npt.NDArray[np.float32] = (np.rint(weight / scale) * scale).astype(np.float32)
    return result


def means(of: onnx.ModelProto, name: str) -> npt.NDArray[np.float32]:
    """Mean of each channel of a tensor over all feeds."""
    del of.graph.output[:]
    of.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(of.SerializeToString())
    found = [session.run(None, feed)[0] for feed in feeds()]
    mean: npt.NDArray[np.float32] = np.mean(found, axis=(0, 1, 3, 4))
    return mean


@pytest.mark.parametrize(("layer", "output"), [("wide", "x"), ("grouped", "y")])
def test_a_layer_of_rounded_weights_keeps_its_mean(layer: str, output: str) -> None:
    """But for what lies at the border, which not all of a kernel's weights read."""
    expected = means(model(), output)
    errors = []
    for corrected in (False, True):
        found = model()
        if corrected:
            correct_biases(found, {layer}, feeds())
        for tensor in found.graph.initializer:
            if tensor.name == layer:
                values = rounded(numpy_helper.to_array(tensor))
                tensor.CopyFrom(numpy_helper.from_array(values, layer))
        errors.append(np.abs(means(found, output) - expected).max())
    assert errors[1] < errors[0] / 4


def test_only_biases_of_quantised_layers_change() -> None:
    plain = weights(model())
    found = model()
    correct_biases(found, {"grouped", "first", "second"}, feeds())
    changed = [name for name, value in weights(found).items() if (value != plain[name]).any()]
    assert changed == ["b1"]


def test_nothing_runs_where_nothing_can_be_corrected() -> None:
    found = model()
    correct_biases(found, {"first", "second", "relu"}, [{}])
    for name, value in weights(found).items():
        assert_array_equal(value, weights(model())[name])


def test_quantised_graphs_have_corrected_biases(tmp_path: Path) -> None:
    axes = (1, 12, SIDE - 4, SIDE - 4)
    stage = Stage("trunk", "", "", VIEW, {}, {"out": TensorSpec("map", "float32", axes)}, {})
    found = {}
    for name in ("plain", "corrected"):
        graph = model()
        if name == "corrected":
            correct_biases(graph, {node.name for node in graph.graph.node}, feeds())
        onnx.save(graph, tmp_path / f"{name}.onnx")
    quantise(tmp_path / "plain.onnx", tmp_path / "int8.onnx", stage, feeds(), "int8")
    stored = weights(onnx.load(tmp_path / "int8.onnx"))
    for name in ("plain", "corrected"):
        bias = weights(onnx.load(tmp_path / f"{name}.onnx"))["b1"]
        scale = stored["b1_quantized_scale"]
        found[name] = np.abs(stored["b1_quantized"] * scale - bias).max() / scale.max()
    assert found["corrected"] < 1 < found["plain"]
