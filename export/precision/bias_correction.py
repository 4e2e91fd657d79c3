"""Biases that make up for the rounding of weights.

A weight that is rounded moves its layer's output by the rounding times what it reads. What it reads
has a mean, after a ReLU above all, so every channel moves to one side. The means are measured, and
the bias takes the move back (bias correction: Nagel et al. 2019, arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from deepmask.export.precision.calibration import Feed

_LARGEST = 127  # of an int8 weight; -128 is not used
_MEAN = ".mean"
_AXES = "bias_correction.axes"

Means = dict[str, NDArray[np.float32]]


def correct_biases(model: onnx.ModelProto, nodes: Collection[str], feeds: Iterable[Feed]) -> None:
    """Correct the biases of convolutions that are about to be quantised, in place.

    nodes  names of the nodes that are quantised.
    feeds  inputs of the float32 graph by name; not asked for where nothing can be corrected.
    A layer that runs at several places keeps its bias: it would need one for each.
    """
    uses = Counter(name for node in model.graph.node for name in node.input)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and node.name in nodes and len(node.input) == 3
        if all(uses[name] == 1 and name in weights for name in node.input[1:])
    ]
    if not layers:
        return
    means = _channel_means(model, sorted({layer.input[0] for layer in layers}), feeds)
    for layer in layers:
        values, weight, bias = layer.input
        moved = _moved(layer, numpy_helper.to_array(weights[weight]), means[values])
        corrected = numpy_helper.to_array(weights[bias]) + moved
        weights[bias].CopyFrom(numpy_helper.from_array(corrected.astype(np.float32), bias))


def _channel_means(model: onnx.ModelProto, names: list[str], feeds: Iterable[Feed]) -> Means:
    """Return the mean of each channel of tensors (1, C, H, W), over places and then over feeds."""
    measured = onnx.ModelProto()
    measured.CopyFrom(model)
    graph = measured.graph
    del graph.output[:]
    graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3]), _AXES))
    for name in names:
        graph.node.append(
            helper.make_node("ReduceMean", [name, _AXES], [name + _MEAN], name + _MEAN, keepdims=0)
        )
        graph.output.append(helper.make_tensor_value_info(name + _MEAN, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        measured.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = [session.run([name + _MEAN for name in names], feed) for feed in feeds]
    means = (np.mean(arrays, axis=0) for arrays in zip(*found, strict=True))
    return dict(zip(names, means, strict=True))


def _moved(
    layer: NodeProto, weight: NDArray[np.float32], means: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return by how much each output channel's mean falls when the weights are rounded."""
    groups = next((one.i for one in layer.attribute if one.name == "group"), 1)
    lost = (weight - _rounded(weight)).sum(axis=(2, 3))  # (outputs, inputs of a group)
    outputs, inputs = lost.shape
    read = means.reshape(groups, 1, inputs)
    moved: NDArray[np.float32] = (lost.reshape(groups, outputs // groups, inputs) * read).sum(2)
    return moved.ravel()


def _rounded(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights as int8 holds them, with a scale for each output channel."""
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / _LARGEST
    scale[scale == 0] = 1
    rounded: NDArray[np.float32] = np.rint(weight / scale) * scale
    return rounded
