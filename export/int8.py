"""int8: a float32 graph with quantisation steps (QDQ), its ranges measured on photographs.

Weights are int8 per output channel. Activations have two forms, because the engines differ:

"int8"            uint8 with a zero point, after every layer. ONNX Runtime on a CPU fuses these into
                  integer convolutions whose ReLU costs nothing; it leaves half of the other form in
                  float32.
"int8-symmetric"  int8 around zero, in front of convolutions only, and float32 biases: TensorRT
                  accepts no zero points and fuses what follows a convolution itself.

A mask graph that starts from the features has a wide product of its own, 51 M multiply-adds a mask
of the 224 px model: it is quantised up to there. What starts from the code is not, nor are the
refinement and the mask head's last layer: they cost little, and a mask's outline hangs on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from deepmask.export.calibration import Feed
from deepmask.export.spared import last_score_layer

INT8, SYMMETRIC = QUANTISED_FORMS = ("int8", "int8-symmetric")
#: What is quantised in trunk and score graph, but for the score's last layer. To spare the one in
#: front of it too finds as many proposals again and has the same recall. To spare the trunk's first
#: convolution brought the score logits closer (0.15 instead of 0.19 rms of 6.6) and found no more,
#: and trunk and score of a 640×480 image took 0.77 instead of 0.59 s of one AVX-512 core.
_LAYERS = {INT8: ["Conv", "Add", "MaxPool", "Relu"], SYMMETRIC: ["Conv"]}
_PRODUCTS = ["Gemm", "MatMul"]
#: In a mask graph. Between convolution and product, values are moved as integers.
_WINDOW_LAYERS = {
    INT8: ["Conv", "Relu", "Transpose", "Reshape", "Gather", *_PRODUCTS],
    SYMMETRIC: ["Conv", *_PRODUCTS],
}
#: A range is the mean of those of all pictures: one that spans every picture's extremes is coarse
#: for all. Of the shipped model's best proposals int8 finds 94.7 % again so, and 91.9 % otherwise;
#: int8-symmetric 92.6 and 84.7 %.
_AVERAGED: dict[str, Any] = {"CalibMovingAverage": True}
_OF_SYMMETRIC: dict[str, Any] = {
    "ActivationSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv", *_PRODUCTS],
}
_OF_WINDOWS: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": _PRODUCTS}
#: Says that BatchNorms are folded and shapes known; without it the quantiser asks for that.
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def quantise(source: Path, target: Path, name: str, feeds: Iterable[Feed], form: str) -> None:
    """Write the quantised form of the float32 graph `source` to `target`.

    `name` is the graph's: trunk, score, or one of masks that starts from the features; `feeds` are
    its inputs by name, a picture's each; `form` is `INT8` or `SYMMETRIC`.
    """
    graph = onnx.load(source)
    prepared = graph.metadata_props.add()
    prepared.key, prepared.value = _PREPARED
    symmetric, masks = form == SYMMETRIC, name not in ("trunk", "score")
    quantize_static(
        graph,
        target,
        _Reader(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=(_WINDOW_LAYERS if masks else _LAYERS)[form],
        per_channel=True,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=window_codes(graph) if masks else None,
        nodes_to_exclude=last_score_layer(graph) if name == "score" else None,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options=_AVERAGED
        | (_OF_WINDOWS if masks else {})
        | (_OF_SYMMETRIC if symmetric else {}),
    )
    _measure_as_it_comes(target)


def window_codes(masks: onnx.ModelProto) -> list[str]:
    """Names of a mask graph's nodes from the features to the product of gathered windows."""
    made, chosen = {"features"}, []
    for node in masks.graph.node:
        if made & set(node.input) and node.op_type != "Shape":
            made |= set(node.output)
            chosen.append(node.name)
            if node.op_type in _PRODUCTS:
                break
    return chosen


def _measure_as_it_comes(path: Path) -> None:
    """Let a tensor's shape be read before it is quantised: behind that, all of it is converted."""
    model = onnx.load(path)
    made_by = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in made_by:
            behind = made_by[node.input[0]]
            if behind.op_type == "DequantizeLinear":
                node.input[0] = made_by[behind.input[0]].input[0]
    onnx.save_model(model, path)


class _Reader:
    """Feeds as the quantiser takes them: one by one, then None."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)
