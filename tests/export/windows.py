"""The plain reference of every dense graph: a head applied to one window at a time."""

from __future__ import annotations

import onnxruntime
import torch
from torch import Tensor, nn

from deepmask.export.onnx_graph import to_onnx


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


def session_of(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> onnxruntime.InferenceSession:
    """The module as ONNX Runtime runs it."""
    graph = to_onnx(module, examples, inputs, outputs, 18)
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
