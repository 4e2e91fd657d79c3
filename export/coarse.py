"""The coarse form of a refined model: its trunk without the skip maps, whatever the precision.

`trunk.onnx` makes the skip maps in one pass with the features, so that no large map has to be kept
or moved for a graph of their own (at stride 2 and 64 channels, 158 MB for the pyramid of a 640×480
image). Not to pay for them under `--coarse` takes a trunk without them: a copy of those nodes that
make the features, 5 MB for a ResNet-18, with the same features to the bit and so the same scores.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx

#: Graphs of the coarse form by the graph whose place they take.
COARSE_GRAPHS = {"trunk": "coarse_trunk", "mask": "coarse_mask"}
#: What the trunk makes for it.
COARSE_OUTPUTS = ("features",)


def write_coarse_trunk(folder: Path) -> Path:
    """Write `coarse_trunk.onnx` beside `trunk.onnx`, of which it is a part."""
    graph = onnx.load(folder / "trunk.onnx")
    keep_outputs(graph, COARSE_OUTPUTS)
    path = folder / f"{COARSE_GRAPHS['trunk']}.onnx"
    onnx.save_model(graph, path)
    onnx.checker.check_model(path, full_check=True)
    return path


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
