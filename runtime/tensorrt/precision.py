"""What an engine computes in, as opposed to what was asked for.

Networks are strongly typed: TensorRT must compute each layer in the type that the network gives it.
So the type of every convolution and matrix product is read from the network before the build, and
where the engine can be loaded, the types of its tensors from TensorRT's own description of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from deepmask.runtime.engines.base import EngineError

#: TensorRT's names of types → ours.
_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
#: The types that may stand in an engine's description, longest first so that FP16 is not FP1.
_IN_TEXT = re.compile(r"\b(FP32|FP16|Half|Float|Int8|INT8|HALF|FLOAT|BF16|BFloat16|FP8)\b")
_OF_TEXT = {"FP32": "fp32", "FLOAT": "fp32", "FP16": "fp16", "HALF": "fp16", "INT8": "int8"}
#: What `precision` in model.json stands for.
_ASKED = {"fp32": "fp32", "fp16": "fp16", "int8": "int8", "int8-symmetric": "int8"}


def network_types(trt: ModuleType, network: Any) -> dict[str, int]:
    """How many convolutions and matrix products of a parsed network compute in each type.

    One whose input comes out of a dequantisation is int8: TensorRT fuses the two.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = trt.LayerType
    quantised = {layer.get_output(0).name for layer in layers if layer.type == kinds.DEQUANTIZE}
    counts: Counter[str] = Counter()
    for layer in layers:
        if layer.type in (kinds.CONVOLUTION, kinds.MATRIX_MULTIPLY):
            source = layer.get_input(0)
            name = "INT8" if source.name in quantised else source.dtype.name
            counts[_TYPES.get(name, name.lower())] += 1
    return dict(counts)


def engine_types(trt: ModuleType, engine: Any) -> set[str]:
    """Types of the tensors inside a loaded engine, by its inspector; empty if it tells none."""
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return set()
    found = set()
    for layer in layers:
        for side in ("Inputs", "Outputs"):
            for tensor in layer.get(side, []) if isinstance(layer, dict) else []:
                for word in _IN_TEXT.findall(str(tensor.get("Format/Datatype", ""))):
                    found.add(_OF_TEXT.get(word.upper(), word.lower()))
    return found


def check_precision(asked: str, held: Mapping[str, Mapping[str, int]]) -> str:
    """What a model's engines hold, for a person to read; `held` are `network_types` by graph.

    Raises `EngineError` if fp32 was asked for and something computes in less, or if most layers do
    not compute in the lower precision that was asked for.
    """
    total: Counter[str] = Counter()
    for counts in held.values():
        total.update(counts)
    kind, layers = _ASKED.get(asked, asked), sum(total.values())
    text = ", ".join(f"{count} in {name}" for name, count in total.most_common())
    if total[kind] < layers if kind == "fp32" else 2 * total[kind] < layers:
        raise EngineError(
            f"the model is said to be {asked}, but of its {layers} convolutions and products {text}"
        )
    return f"{asked}: of {layers} convolutions and products {text}"
