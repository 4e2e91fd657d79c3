"""int8: a float32 graph with quantisation steps (QDQ), its ranges measured on photographs.

Weights are int8 per output channel. Activations have two forms, because the engines differ:

"int8"            uint8 with a zero point, after every layer. ONNX Runtime on a CPU fuses these into
                  integer convolutions whose ReLU costs nothing; it leaves half of the other form in
                  float32.
"int8-symmetric"  int8 around zero, in front of convolutions and products only, and float32 biases:
                  TensorRT accepts no zero points and fuses what follows a convolution itself.

A mask graph that starts from the features is quantised up to the code of each window, 51 M of the
224 px model's 53 M multiply-adds a mask. What makes masks of codes is not: the outline hangs on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from deepmask.export.precision.bias_correction import correct_biases
from deepmask.export.precision.calibration import Feed
from deepmask.runtime.model.manifest import WINDOWS, Stage
from deepmask.runtime.model.spared_layers import layers_of, score_tail

INT8, SYMMETRIC = QUANTISED_FORMS = ("int8", "int8-symmetric")
_PRODUCTS = ["Gemm", "MatMul"]
#: Kinds of layers that are quantised. To spare the trunk's first convolution brought the score
#: logits closer (0.15 instead of 0.19 rms of 6.6) and found no more of the proposals, and trunk and
#: score of a 640×480 image took 0.77 instead of 0.59 s of one AVX-512 core.
_LAYERS = {INT8: ["Conv", "Add", "MaxPool", "Relu", "Clip"], SYMMETRIC: ["Conv", *_PRODUCTS]}
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


def quantise(source: Path, target: Path, stage: Stage, feeds: Iterable[Feed], form: str) -> None:
    """Write the quantised form of the float32 graph `source` to `target`; a copy if it has none.

    stage  that the graph is of; its nodes have names.
    feeds  its inputs by name, for each view, gone through twice; not asked for where nothing is
           quantised.
    form   `INT8` or `SYMMETRIC`.
    """
    graph = onnx.load(source)
    chosen = quantised_nodes(graph, stage, form)
    if not chosen:
        shutil.copyfile(source, target)
        return
    correct_biases(graph, chosen, feeds)
    prepared = graph.metadata_props.add()
    prepared.key, prepared.value = _PREPARED
    gathers = form == INT8 and stage.per == WINDOWS
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
    _measure_as_it_is_kept(target)


def quantised_nodes(model: onnx.ModelProto, stage: Stage, form: str) -> list[str]:
    """Return the names of the nodes that are quantised; none for a graph that stays in float32.

    Kept in float32 are the score's last layer with what is behind it and, in the int8 form, layers
    that make skip maps: quantised, OpenVINO 2026.4 adds the first channel's bias to all channels of
    the largest map (it then found 85.9 % of the shipped model's best proposals for 94.7). So is, in
    the symmetric form, the layer that reads a map which masks are made of, for its input would be
    rounded.
    """
    if stage.per == WINDOWS:
        return _window_codes(model, stage)
    kept = ["score", *(["skips"] if form == INT8 else [])]
    if form == SYMMETRIC and stage.with_role("score") and _makes_map(stage):
        kept.append("hidden_score")
    spared = {*layers_of(model, stage, *kept), *score_tail(model, stage)}
    return [node.name for node in model.graph.node if node.name not in spared]


def count_quantised(model: onnx.ModelProto) -> tuple[int, int]:
    """Return how many convolutions and products compute on integers, of how many with weights."""
    steps = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    weights = {one.name for one in model.graph.initializer} | steps
    layers = [n for n in model.graph.node if n.op_type in ("Conv", *_PRODUCTS)]
    weighted = [n for n in layers if weights & set(n.input[1:2])]
    return sum(n.input[1] in steps for n in weighted), len(weighted)


def _makes_map(stage: Stage) -> bool:
    return any(spec.role == "map" for spec in stage.outputs.values())


def _window_codes(model: onnx.ModelProto, stage: Stage) -> list[str]:
    """Return the nodes from the maps that a stage reads to the layer that ends a window's code."""
    ends = set(layers_of(model, stage, "code"))
    nodes = list(model.graph.node)
    maps = stage.inputs.items()  # those of integers are where to read, not what
    behind = {name for name, one in maps if one.role == "map" and one.dtype == "float32"}
    for node in nodes:  # they stand in the order they run in
        if behind & set(node.input) and node.op_type != "Shape":
            behind |= set(node.output)
    chosen: list[str] = []
    needed: set[str] = set()
    for node in reversed(nodes):
        ends_code = node.name in ends and node.op_type in _PRODUCTS
        if behind & set(node.output) and (ends_code or needed & set(node.output)):
            chosen.append(node.name)
            needed |= set(node.input)
    return chosen[::-1]


def _measure_as_it_is_kept(path: Path) -> None:
    """Let a tensor's shape be read of its integers: behind them, all of it is converted.

    Read of what is quantised, a layer's result would be kept in float32 for it.
    """
    model = onnx.load(path)
    made_by = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        behind = made_by.get(node.input[0]) if node.op_type == "Shape" else None
        if behind is not None and behind.op_type == "DequantizeLinear":
            node.input[0] = behind.input[0]
    onnx.save_model(model, path)


class _Reader:
    """Feeds as the quantiser takes them: one by one, then None."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)
