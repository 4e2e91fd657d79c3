"""The plain reference of every dense graph: a head applied to one window at a time."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime
import torch
from torch import Tensor, nn

from deepmask.export.onnx_graph import to_onnx
from deepmask.networks.dense.graphs import DenseGraph
from deepmask.runtime.model.manifest import VIEW, TensorSpec

#: Every tensor of the dense graphs; 0 stands for a size that a network fixes.
_TENSORS = {
    "image": TensorSpec("image", "float32", (1, 3, "height", "width")),
    "features": TensorSpec("map", "float32", (1, 0, "height/16", "width/16")),
    "score": TensorSpec("score", "float32", (1, 1, "rows", "cols")),
    "code": TensorSpec("map", "float32", (1, 0, "rows", "cols")),
    "locations": TensorSpec("locations", "int64", ("n", 2)),
    "mask": TensorSpec("mask", "float32", ("n", 0, 0)),
}


def windows_of(features: Tensor, cells: int, margin: int) -> tuple[Tensor, int, int]:
    """(1, C, h, w) → all windows (rows·cols, C, cells, cells) in row order, rows, cols."""
    height, width = features.shape[2:]
    rows, cols = height - 2 * margin - cells + 1, width - 2 * margin - cells + 1
    windows = [
        features[0, :, i + margin : i + margin + cells, j + margin : j + margin + cells]
        for i in range(rows)
        for j in range(cols)
    ]
    return torch.stack(windows), rows, cols


def graph_of(module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> DenseGraph:
    """Describe a module by the names of its tensors."""
    given = {name: _TENSORS[name] for name in inputs}
    made = {name: _TENSORS[name] for name in outputs}
    return DenseGraph("graph", "graph", VIEW, module, given, made)


def session_of(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> onnxruntime.InferenceSession:
    """The module as ONNX Runtime runs it."""
    graph = to_onnx(graph_of(module, inputs, outputs), examples, 18)
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
