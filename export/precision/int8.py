"""int8: a float32 graph with quantisation steps (QDQ), its ranges measured on photographs.

Weights are int8 per output channel. Activations have two forms, because the engines differ:

"int8"            uint8 with a zero point, after every layer. ONNX Runtime on a CPU fuses these into
                  integer convolutions whose ReLU costs nothing; it leaves half of the other form in
                  float32.
"int8-symmetric"  int8 around zero, in front of convolutions and products only, and float32 biases:
                  TensorRT accepts no zero points and fuses what follows a convolution itself.

A mask graph that starts from the features computes a code of each window first, 51 M multiply-adds
of the 224 px model's 53 M a mask: up to the code it is quantised. What makes masks of codes is not,
for a mask's outline hangs on it; nor is the full mask head, which has no code.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from deepmask.export.precision.calibration import Feed
from deepmask.export.precision.keep_float32 import last_score_layer, score_head, skip_maps

INT8, SYMMETRIC = QUANTISED_FORMS = ("int8", "int8-symmetric")
_PRODUCTS = ["Gemm", "MatMul"]
#: Kinds of layers that are quantised. To spare the trunk's first convolution brought the score
#: logits closer (0.15 instead of 0.19 rms of 6.6) and found no more of the proposals, and trunk and
#: score of a 640×480 image took 0.77 instead of 0.59 s of one AVX-512 core.
_LAYERS = {INT8: ["Conv", "Add", "MaxPool", "Relu"], SYMMETRIC: ["Conv", *_PRODUCTS]}
#: In a mask graph's int8 form, windows are gathered as integers too.
_GATHERED = ["Transpose", "Reshape", "Gather", *_PRODUCTS]
#: A range is the mean of all canvases': one that spans every canvas' extremes is coarse for most.
#: Of the shipped model's best proposals int8 found 94.7 % again so, and 91.9 % otherwise;
#: int8-symmetric 92.6 and 84.7 % (ten photographs, ONNX Runtime, skip maps quantised).
_OPTIONS: dict[str, dict[str, Any]] = {
    INT8: {
        "CalibMovingAverage": True,
        "OpTypesToExcludeOutputQuantization": _PRODUCTS,
    },
    SYMMETRIC: {
        "CalibMovingAverage": True,
        "OpTypesToExcludeOutputQuantization": ["Conv", *_PRODUCTS],
        "ActivationSymmetric": True,
        "QuantizeBias": False,
    },
}
#: Says that BatchNorms are folded and shapes known; without it the quantiser asks for that.
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def quantise(source: Path, target: Path, name: str, feeds: Iterable[Feed], form: str) -> None:
    """Write the quantised form of the float32 graph `source` to `target`; a copy if it has none.

    `name` is the graph's, whose nodes have names; `feeds` are its inputs by name, a canvas' each,
    and not asked for where nothing is quantised; `form` is `INT8` or `SYMMETRIC`.
    """
    graph = onnx.load(source)
    chosen = quantised_nodes(graph, name, form)
    if not chosen:
        shutil.copyfile(source, target)
        return
    prepared = graph.metadata_props.add()
    prepared.key, prepared.value = _PREPARED
    gathers = form == INT8 and name not in ("trunk", "score")
    quantize_static(
        graph,
        target,
        _Reader(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_LAYERS[form] + (_GATHERED if gathers else []),
        per_channel=True,
        activation_type=QuantType.QUInt8 if form == INT8 else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=chosen,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options=_OPTIONS[form],
    )
    _measure_as_it_comes(target)


def quantised_nodes(model: onnx.ModelProto, name: str, form: str) -> list[str]:
    """Names of the nodes of graph `name` whose layers are quantised; none: it stays in float32.

    Spared are the score's last layer and, in the int8 form, those that give skip maps: they are
    small, and OpenVINO 2026.4 adds the first channel's bias to all channels of the largest map if
    they are quantised (of the shipped model's best proposals it found 85.9 % again for 94.7). The
    score's layer before the last makes no difference to recall, but in the symmetric form its input
    would be rounded, and where masks are made of codes, that is the code.
    """
    if name == "trunk":
        spared = set(skip_maps(model) if form == INT8 else ())
    elif name == "score":
        gives_code = "code" in {output.name for output in model.graph.output}
        both = form == SYMMETRIC and gives_code
        spared = set(score_head(model) if both else last_score_layer(model))
    else:
        return _window_codes(model)
    return [node.name for node in model.graph.node if node.name not in spared]


def _window_codes(masks: onnx.ModelProto) -> list[str]:
    """The nodes of a mask graph from the features to the codes of gathered windows.

    None if it starts from codes, or goes from the features to masks at once, as the full head.
    """
    nodes, made, chosen = list(masks.graph.node), {"features"}, list[str]()
    if not {value.name for value in masks.graph.input} <= {"features", "skips", "locations"}:
        return []
    for index, node in enumerate(nodes):
        if made & set(node.input) and node.op_type != "Shape":
            made |= set(node.output)
            chosen.append(node.name)
            if node.op_type in _PRODUCTS:
                behind = {later.op_type for later in nodes[index + 1 :]}
                return chosen if behind & {"Conv", *_PRODUCTS} else []
    return []


def _measure_as_it_comes(path: Path) -> None:
    """Let a tensor's shape be read before it is quantised: behind that, all of it is converted."""
    model = onnx.load(path)
    made_by = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        behind = made_by.get(node.input[0]) if node.op_type == "Shape" else None
        if behind is not None and behind.op_type == "DequantizeLinear":
            before = made_by.get(behind.input[0])
            if before is not None and before.op_type == "QuantizeLinear":
                node.input[0] = before.input[0]
    onnx.save_model(model, path)


class _Reader:
    """Feeds as the quantiser takes them: one by one, then None."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)
