"""ONNX graphs: names of weights and of tensors at their edge, and graphs cut out of others."""

from __future__ import annotations

import numpy as np
import onnx
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
