"""How large a float32 graph's values become: float16 has no number beyond 65504."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from deepmask.export.errors import ExportError
from deepmask.export.precision.calibration import Feed

#: The largest float16.
LARGEST = 65504.0
#: Part of it from which on a warning is due: other pictures may go further.
NEAR = 0.25


def check_ranges(source: Path, spared: Collection[str], feeds: Iterable[Feed], where: str) -> str:
    """Return a warning if a graph comes near to float16's limit on its inputs `feeds`, or "".

    spared  names of nodes that stay in float32.
    where   what the inputs were, for messages.
    Raises `ExportError` for values beyond the limit.
    """
    name, value = largest_value(source, spared, feeds)
    reaches = f"{source.name}: the tensor {name} reaches {value:.0f} on {where}"
    if not value <= LARGEST:
        raise ExportError(
            f"{reaches}, beyond float16's {LARGEST:.0f}: use --precision fp32 (GPUs compute its "
            "products in TF32), or int8"
        )
    if value > NEAR * LARGEST:
        return (
            f"Warning: {reaches}, near float16's {LARGEST:.0f}, and other pictures may go further: "
            "measure recall with deepmask-eval"
        )
    return ""


def largest_value(
    source: Path, spared: Collection[str], feeds: Iterable[Feed]
) -> tuple[str, float]:
    """Return the tensor of the largest magnitude that a graph makes of its inputs, and that."""
    model = onnx.load(source)
    names = _watch(model, spared)
    if not names:
        return "", 0.0
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    largest = np.zeros(len(names))
    for feed in feeds:
        [found] = session.run(["largest values"], feed)
        largest = np.fmax(largest, np.nan_to_num(found, nan=np.inf))
    index = int(np.argmax(largest))
    return names[index], float(largest[index])


def _watch(model: onnx.ModelProto, spared: Collection[str]) -> list[str]:
    """Let a graph give out the largest magnitude of each tensor that float16 would hold."""
    graph = model.graph
    values = [*onnx.shape_inference.infer_shapes(model).graph.value_info, *graph.output]
    floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    constant = {"Constant", "ConstantOfShape", "Cast"}
    names = [
        name
        for node in graph.node
        if node.name not in spared and node.op_type not in constant
        for name in node.output
        if name in floats
    ]
    singles = []
    for index, name in enumerate(names):
        size, single = f"watched {index}", f"largest {index}"
        graph.node.extend(
            [
                helper.make_node("Abs", [name], [size], size),
                helper.make_node("ReduceMax", [size], [f"{single} alone"], single, keepdims=0),
                helper.make_node(
                    "Reshape", [f"{single} alone", "watched one"], [single], f"{single} 1"
                ),
            ]
        )
        singles.append(single)
    if singles:
        one = onnx.numpy_helper.from_array(np.array([1]), "watched one")
        graph.initializer.append(one)
        graph.node.append(helper.make_node("Concat", singles, ["largest values"], "all", axis=0))
        graph.output.append(
            helper.make_tensor_value_info("largest values", TensorProto.FLOAT, [len(singles)])
        )
    return names
