"""Weights on their way into a graph: finite ones only, and half their size if asked for."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from deepmask.export.errors import ExportError
from deepmask.networks.network import Network


def require_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise `ExportError` naming the first tensor that holds NaN or infinity."""
    for name, tensor in weights.items():
        bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
        if bad:
            raise ExportError(
                f"weight {name} has {bad} of {tensor.numel()} values that are NaN or infinite: "
                "the training diverged; export an earlier checkpoint"
            )


def round_to_half(model: Network) -> Network:
    """Return a copy of `model` whose matrices and kernels hold only values that float16 can.

    Biases and other vectors keep their float32 values: they are few and cost nothing.
    Raises `ExportError` naming a weight beyond float16's range.
    """
    rounded = copy.deepcopy(model)
    for name, parameter in rounded.named_parameters():
        if parameter.dim() < 2:
            continue
        half = parameter.detach().half().float()
        if not torch.isfinite(half).all():
            raise ExportError(f"weight {name} is beyond float16's range: use --weights fp32")
        parameter.data = half
    return rounded


def store_as_half(model: onnx.ModelProto) -> None:
    """Store the initialisers that float16 holds exactly as float16, with a Cast back to float32.

    Nothing is rounded here (see `round_to_half`), so the graph computes the same as before. Engines
    fold the Cast when they load the graph: the file is half as large and the arithmetic float32.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, full = tensor.name, numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = full.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), full):
            continue
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [tensor.name], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
