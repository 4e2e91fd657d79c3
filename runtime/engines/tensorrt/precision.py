"""What an engine computes in, as opposed to what was asked for.

Networks are strongly typed: TensorRT must compute each layer in the type that the network gives it.
So the type of every convolution and matrix product is read from the network and compared with what
the graph's own file says (`marked`), and where the engine can be loaded, the types of its tensors
are read from TensorRT's own description of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.flavours import Library, started

#: TensorRT's names of types → ours.
_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
#: The types as an engine's description has them, alone or within the name of a memory layout.
_IN_TEXT = re.compile(r"\b(FP32|FP16|HALF|FLOAT|INT8|BF16|BFLOAT16|FP8)\b", re.IGNORECASE)
_OF_TEXT = {"FP32": "fp32", "FLOAT": "fp32", "FP16": "fp16", "HALF": "fp16", "BFLOAT16": "bf16"}
#: What `precision` in model.json stands for.
_ASKED = {"fp32": "fp32", "fp16": "fp16", "int8": "int8", "int8-symmetric": "int8"}
#: The graphs of a model that have every layer in its precision, and those that have some: an export
#: spares the last layers of the score, and int8 what makes masks of codes. All are whole in fp32.
_WHOLE = {"fp16": ("trunk", "mask"), "int8": ("trunk",)}
_PARTLY = {"fp16": ("score",), "int8": ("score",)}


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


def check_marked(name: str, marked: Mapping[str, int], held: Mapping[str, int]) -> None:
    """Raise `EngineError` if a network has more layers of a type than its graph gives that type.

    `marked` are the `marked_types` of graph `name`, `held` the network's `network_types`. TensorRT
    may leave layers out; one that it computes in another type than the graph's is one too many.
    """
    if marked and any(count > marked.get(kind, 0) for kind, count in held.items()):
        raise EngineError(
            f"of graph {name}'s {_in_numbers(marked)}, but of those in TensorRT's network are "
            f"{_by_type(held)}: it would not compute in the graph's precision"
        )


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


def check_precision(asked: str, held: Mapping[str, Mapping[str, int]]) -> str:
    """What a model's engines compute in, to be shown; `held` are the `network_types` by graph.

    Raises `EngineError` if a layer computes in another precision than the one that was asked for,
    and is none of those that an export spares.
    """
    kind = _ASKED.get(asked, asked)
    whole, partly = _WHOLE.get(kind, tuple(held)), _PARTLY.get(kind, ())
    for name, counts in held.items():
        least = sum(counts.values()) if name in whole else int(name in partly)
        if counts.get(kind, 0) < least:
            raise EngineError(
                f"the model is said to compute in {asked}, but of graph {name}'s "
                f"{_in_numbers(counts)}; export the checkpoint again"
            )
    total: Counter[str] = Counter()
    for counts in held.values():
        total.update(counts)
    return f"{asked}: of {_in_numbers(total)}"


def _in_numbers(counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values())} convolutions and matrix products are {_by_type(counts)}"


def _by_type(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} in {name}" for name, n in Counter(counts).most_common()) or "none"
