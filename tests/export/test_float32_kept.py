"""Which nodes lower precisions leave in float32, and operators whose types have their own rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepmask.export.precision.int8 import quantised_nodes
from deepmask.runtime.model.half_graph import half_form
from deepmask.runtime.model.manifest import VIEW, Stage, TensorSpec
from deepmask.runtime.model.spared_layers import score_tail

FEATURES = TensorSpec("map", "float32", (1, 2, "height", "width"))
SCORE = TensorSpec("score", "float32", (1, 2, "height", "width"))


def stage_of(path: Path, nodes: str, **constants: npt.ArrayLike) -> Stage:
    """Write a graph of features to score and other, a node a line; its score layer reads "last"."""
    parsed = [onnx.parser.parse_node(line) for line in nodes.strip().splitlines()]
    for node in parsed:
        node.name = f"{node.op_type}:{node.output[0]}"
    made = {"features": FEATURES, "score": SCORE, "other": FEATURES}
    edges = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v.axes) for k, v in made.items()]
    kept = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    graph = helper.make_graph(parsed, "graph", edges[:1], edges[1:], kept)
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    onnx.checker.check_model(path, full_check=True)
    outputs = {"score": SCORE, "other": FEATURES}
    layers = {"score": ("last",)}
    return Stage("s", path.name, "", VIEW, {"features": FEATURES}, outputs, layers)


WEIGHT = np.array([[[[0.5]], [[-0.25]]], [[[1.0]], [[0.75]]]], np.float32)
JOINED = """
    hidden = Conv(features, first)
    other = Relu(hidden)
    logit = Conv(other, last)
    chance = Sigmoid(logit)
    more = Sigmoid(other)
    beside = Mul(other, half)
    joined = Add(chance, beside)
    score = Log(joined)"""


def test_what_joins_the_score_stays_too(tmp_path: Path) -> None:
    """And no layer, nor what others read."""
    stage = stage_of(tmp_path / "s.onnx", JOINED, first=WEIGHT, last=WEIGHT, half=np.float32(0.5))
    model = onnx.load(tmp_path / "s.onnx")
    tail = ["Sigmoid:chance", "Mul:beside", "Add:joined", "Log:score"]
    assert score_tail(model, stage) == tail
    for form in ("int8", "int8-symmetric"):
        chosen = quantised_nodes(model, stage, form)
        assert not {*tail, "Conv:logit"} & set(chosen)
        assert "Conv:hidden" in chosen
    half_graph = half_form((tmp_path / "s.onnx").read_bytes(), stage)
    (tmp_path / "half.onnx").write_bytes(half_graph)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "half.onnx")).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in inferred.value_info}
    assert {kinds[name] for name in ("logit", "chance", "beside", "joined")} == {TensorProto.FLOAT}
    assert kinds["hidden"] == TensorProto.FLOAT16


@pytest.mark.parametrize(
    "nodes",
    [
        'other = Resize<mode = "nearest">(features, , ones)',
        "size = Shape(features)\nsizes = Cast<to=1>(size)\nless = ReduceMin<keepdims=0>(sizes)\n"
        "other = Mul(features, less)",
        "size = Shape(features)\nsome = ConstantOfShape<value = float[1] {3.0}>(size)\n"
        "other = Mul(features, some)",
    ],
    ids=["Resize", "Cast", "ConstantOfShape"],
)
def test_operators_with_types_of_their_own(nodes: str, tmp_path: Path) -> None:
    """A Resize takes its scales in float32 only; some operators name the type that they make."""
    nodes += "\nscore = Conv(other, last)"
    stage = stage_of(tmp_path / "s.onnx", nodes, last=WEIGHT, ones=np.ones(4, np.float32))
    half_graph = half_form((tmp_path / "s.onnx").read_bytes(), stage)
    (tmp_path / "half.onnx").write_bytes(half_graph)
    onnx.checker.check_model(tmp_path / "half.onnx", full_check=True)
    feed = {"features": np.random.default_rng(0).random((1, 2, 5, 7)).astype(np.float32)}
    full, half = (
        onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        for name in ("s.onnx", "half.onnx")
    )
    for expected, found in zip(full.run(None, feed), half.run(None, feed), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
