"""Cut a graph out of another one, with fewer outputs and the same values to the bit.

A refined model's trunk makes its skip maps in one pass with the features, so that no large map
has to be kept or moved for a graph of their own (at stride 2 and 64 channels, 158 MB for the views
of a 640×480 image). Not to pay for them under `--coarse` takes a trunk without them: a copy of
those nodes that make the features, 5 MB for a ResNet-18.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx


def write_part(source: Path, target: Path, outputs: Collection[str]) -> None:
    """Write the part of an ONNX file that makes `outputs`, some of its own."""
    graph = onnx.load(source)
    keep_outputs(graph, outputs)
    onnx.save_model(graph, target)
    onnx.checker.check_model(target, full_check=True)


def keep_outputs(model: onnx.ModelProto, outputs: Collection[str]) -> None:
    """Remove all outputs but these, and every node and weight that only the others need."""
    graph = model.graph
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):  # they stand in the order they run in
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    kept = {
        "node": nodes[::-1],
        "output": [value for value in graph.output if value.name in outputs],
        "initializer": [tensor for tensor in graph.initializer if tensor.name in needed],
        "value_info": [value for value in graph.value_info if value.name in needed],
    }
    for field, values in kept.items():
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del getattr(graph, field)[:]
        getattr(graph, field).extend(copies)
