"""ONNX graphs: names of weights and of tensors at their edge, and graphs cut out of others."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from deepmask.export.errors import ExportError
from deepmask.export.onnx_graph import keep_outputs, to_onnx
from deepmask.networks.dense.graphs import DenseGraph
from deepmask.runtime.model.manifest import WINDOWS, TensorSpec


class Constant(nn.Module):
    """The same mask for every window."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.ones(4, 4))

    def forward(self, locations: Tensor) -> Tensor:
        return self.mask + 0 * locations[:, :1, None].float()


def graph(output: str) -> DenseGraph:
    locations = TensorSpec("locations", "int64", ("n", 2))
    masks = TensorSpec("mask", "float32", ("n", 4, 4))
    return DenseGraph(
        "masks", "masks", WINDOWS, Constant(), {"locations": locations}, {output: masks}
    )


def test_a_weight_named_as_an_output_is_refused_in_one_line() -> None:
    """ONNX has one name for one value; its checker said so of a graph that nobody could read."""
    locations = torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(ExportError, match=r"the masks graph has a weight .* both named mask: give"):
        to_onnx(graph("mask"), [locations], 18)
    found = to_onnx(graph("shape"), [locations], 18)
    assert [one.name for one in found.graph.output] == ["shape"]


class Tables(nn.Module):
    """Two tables of lengths of their own, and what windows read of them."""

    def forward(self, near: Tensor, far: Tensor, locations: Tensor) -> tuple[Tensor, Tensor]:
        read = near[locations[:, 0]] + far[locations[:, 1]]
        return read, torch.cat([near, far])


def test_free_axes_are_not_taken_for_equally_long() -> None:
    """Neither when they are traced, although the examples' are, nor by the names they get."""
    inputs = {name: TensorSpec("map", "float32", ("any", 4)) for name in ("near", "far")}
    inputs["locations"] = TensorSpec("locations", "int64", ("n", 2))
    outputs = {
        "mask": TensorSpec("mask", "float32", ("n", 4)),
        "both": TensorSpec("map", "float32", ("any", 4)),
    }
    tables = DenseGraph("tables", "tables", WINDOWS, Tables(), inputs, outputs)
    examples = [torch.zeros(50, 4), torch.zeros(50, 4), torch.zeros((3, 2), dtype=torch.int64)]
    model = to_onnx(tables, examples, 18)
    edges = {
        v.name: v.type.tensor_type.shape.dim for v in (*model.graph.input, *model.graph.output)
    }
    names = {name: [dim.dim_param or dim.dim_value for dim in dims] for name, dims in edges.items()}
    assert names == {
        "near": ["near.0", 4],
        "far": ["far.0", 4],
        "locations": ["n", 2],
        "mask": ["n", 4],
        "both": ["both.0", 4],
    }
    random = np.random.default_rng(0)
    near, far = (random.random((rows, 4)).astype(np.float32) for rows in (7, 1))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    given = {"near": near, "far": far, "locations": np.array([[6, 0], [2, 0]])}
    mask, both = session.run(["mask", "both"], given)
    np.testing.assert_array_equal(mask, near[[6, 2]] + far[[0, 0]])
    np.testing.assert_array_equal(both, np.concatenate([near, far]))


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
