"""What is written without the library `onnx` is ONNX to it, and to an engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.onnx_writer import FLOAT, Graph, with_half_output
from deepmask.runtime.model.shipped import find_model


def run(graph: bytes, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_a_graph_of_several_nodes() -> None:
    graph = Graph("small")
    graph.input("given", FLOAT, ("n", 4))
    left, right = graph.nodes("Split", 2, "given", axis=1, num_outputs=2)
    total = graph.node("Add", left, graph.node("Mul", right, graph.constant(np.float32(300))))
    graph.output("made", graph.node("Transpose", total, perm=[1, 0]), FLOAT, (2, "n"))
    model = graph.model()
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    given = np.arange(12, dtype=np.float32).reshape(3, 4)
    made = run(model, given=given)["made"]
    np.testing.assert_array_equal(made, (given[:, :2] + 300 * given[:, 2:]).T)


def test_an_output_in_half_the_bytes() -> None:
    """The other outputs, and what reads the tensor inside the graph, are as they were."""
    graph = Graph("inner")
    graph.input("given", FLOAT, ("n",))
    doubled = graph.node("Add", "given", "given")
    graph.output("mask", doubled, FLOAT, ("n",))
    graph.output("rank", graph.node("Add", "mask", "given"), FLOAT, ("n",))
    given = np.array([0.1, 1 / 3, -5, 70000, np.nan], np.float32)
    plain = run(graph.model(), given=given)
    half = run(with_half_output(graph.model(), "mask", ("n",)), given=given)
    assert {name: array.dtype.name for name, array in half.items()} == {
        "rank": "float32",
        "mask": "float16",
    }
    np.testing.assert_array_equal(half["rank"], plain["rank"])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half["mask"], plain["mask"].astype(np.float16))


def test_the_shipped_models_masks() -> None:
    folder = find_model(None)
    for stage in load_manifest(folder).window_stages:
        content = (folder / stage.file).read_bytes()
        changed = onnx.load_from_string(with_half_output(content, "mask", ("n", 48, 48)))
        onnx.checker.check_model(changed, full_check=True)
        before = onnx.load_from_string(content)
        assert changed.graph.initializer == before.graph.initializer
        assert len(changed.graph.node) == len(before.graph.node) + 1
        kinds = {out.name: out.type.tensor_type.elem_type for out in changed.graph.output}
        assert kinds == {"mask": onnx.TensorProto.FLOAT16, "rank": onnx.TensorProto.FLOAT}
