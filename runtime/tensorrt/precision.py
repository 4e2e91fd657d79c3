"""What an engine computes in, as opposed to what was asked for.

Networks are strongly typed: TensorRT must compute each layer in the type that the network gives it.
So the type of every convolution and matrix product is read from the network that was built, and
where the engine can be loaded, the types of its tensors from TensorRT's own description of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.tensorrt.library import Library, started

#: TensorRT's names of types → ours.
_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
#: The types as an engine's description has them, alone or within the name of a memory layout.
_IN_TEXT = re.compile(r"\b(FP32|FP16|HALF|FLOAT|INT8|BF16|BFLOAT16|FP8)\b", re.IGNORECASE)
_OF_TEXT = {"FP32": "fp32", "FLOAT": "fp32", "FP16": "fp16", "HALF": "fp16", "BFLOAT16": "bf16"}
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


def engine_types(library: Library, plan: bytes) -> set[str]:
    """Types of the tensors between an engine's layers, by TensorRT's inspector.

    Empty if it tells none; layers that were fused into one hide what is between them. Needs the
    GPU. Raises `EngineError` if the plan cannot be loaded.
    """
    trt = library.module
    runtime = started(library, trt.Runtime)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        said = library.messages.take()
        raise EngineError(
            f"{library.flavour} cannot load the engine that it has just built: "
            f"{said[-1][:300] if said else 'it gave no reason'}"
        )
    inspector = engine.create_engine_inspector()
    return types_in(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def types_in(description: str) -> set[str]:
    """The types that an inspector's JSON gives for the inputs and outputs of layers."""
    try:
        layers = json.loads(description).get("Layers", [])
    except (ValueError, AttributeError):
        return set()
    tensors = [
        tensor
        for layer in layers
        if isinstance(layer, dict)
        for side in ("Inputs", "Outputs")
        for tensor in layer.get(side, [])
        if isinstance(tensor, dict)
    ]
    words = {
        word.upper()
        for tensor in tensors
        for word in _IN_TEXT.findall(str(tensor.get("Format/Datatype", "")))
    }
    return {_OF_TEXT.get(word, word.lower()) for word in words}


def check_precision(asked: str, held: Iterable[Mapping[str, int]]) -> str:
    """What a model's engines compute in, to be shown; `held` are the `network_types` of each.

    Raises `EngineError` if fp32 was asked for and a layer computes in less, or if no layer computes
    in the lower precision that was asked for.
    """
    total: Counter[str] = Counter()
    for counts in held:
        total.update(counts)
    kind, layers = _ASKED.get(asked, asked), total.total()
    text = ", ".join(f"{count} in {name}" for name, count in total.most_common()) or "none"
    if total[kind] < (layers if kind == "fp32" else 1):
        raise EngineError(
            f"the model is said to compute in {asked}, but of its {layers} convolutions and matrix "
            f"products are {text}; export the checkpoint again"
        )
    return f"{asked}: of {layers} convolutions and matrix products are {text}"
