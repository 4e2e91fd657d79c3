"""int8: a float32 graph with quantisation steps (QDQ), its ranges measured on photographs.

Weights are int8 per output channel. Activations have two forms, because the engines differ:

"int8"            uint8 with a zero point, after every layer. ONNX Runtime on a CPU fuses these into
                  integer convolutions whose ReLU costs nothing; it leaves half of the other form in
                  float32.
"int8-symmetric"  int8 around zero, in front of convolutions only, and float32 biases: TensorRT
                  accepts no zero points and fuses what follows a convolution itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from deepmask.export.calibration import Feed
from deepmask.export.spared import score_head

INT8, SYMMETRIC = QUANTISED_FORMS = ("int8", "int8-symmetric")
#: Graphs that are quantised. The mask graph stays in float32: it runs on the chosen windows only.
#: The score head's last layers do too. Sparing the first convolution as well would bring the score
#: logits closer (0.15 instead of 0.19 rms of 6.6) and find no more of the proposals, and trunk and
#: score of a 640×480 image take 0.77 instead of 0.59 s of one AVX-512 core (1.94 s in float32).
QUANTISED = ("trunk", "score")
#: A range is the mean of those of all pictures: one that spans every picture's extremes is coarse
#: for all. Of the shipped model's best proposals int8 finds 94.7 % again so, and 91.9 % otherwise;
#: int8-symmetric 92.6 and 84.7 %.
_AVERAGED: dict[str, Any] = {"CalibMovingAverage": True}
_OF_SYMMETRIC: dict[str, Any] = {
    "ActivationSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
}
#: Says that BatchNorms are folded and shapes known; without it the quantiser asks for that.
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def quantise(source: Path, target: Path, name: str, feeds: Iterable[Feed], form: str) -> None:
    """Write the quantised form of the float32 graph `source` to `target`.

    `name` is the graph's, one of `QUANTISED`; `feeds` are its inputs by name, a picture's each;
    `form` is `INT8` or `SYMMETRIC`.
    """
    graph = onnx.load(source)
    prepared = graph.metadata_props.add()
    prepared.key, prepared.value = _PREPARED
    symmetric = form == SYMMETRIC
    quantize_static(
        graph,
        target,
        _Reader(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"] if symmetric else ["Conv", "Add", "MaxPool", "Relu"],
        per_channel=True,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=score_head(graph) if name == "score" else [],
        calibrate_method=CalibrationMethod.MinMax,
        extra_options=_AVERAGED | (_OF_SYMMETRIC if symmetric else {}),
    )


class _Reader:
    """Feeds as the quantiser takes them: one by one, then None."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)
