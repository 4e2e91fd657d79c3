"""Find the layers of a graph that a lower precision treats apart, by the weights they read.

`Stage.layers` names the weights by role; names of weights come from the network's modules.
"""

from __future__ import annotations

import onnx

from deepmask.runtime.model.manifest import Stage

#: Operators with weights of their own.
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def layers_of(model: onnx.ModelProto, stage: Stage, *roles: str) -> list[str]:
    """Return the names of the nodes of a stage's layers with these roles.

    They are the nodes that read one of the layers' weights, and activations right behind them.
    """
    weights = {name for role in roles for name in stage.layers.get(role, ())}
    chosen: list[str] = []
    made: set[str] = set()
    for node in model.graph.node:
        if weights & set(node.input) or (node.op_type == "Relu" and node.input[0] in made):
            chosen.append(node.name)
            made |= set(node.output)
    return chosen


def score_tail(model: onnx.ModelProto, stage: Stage) -> list[str]:
    """Return the names of the nodes behind a stage's score, and of what joins it there.

    A logit is turned into a probability and back where two are joined: float16 has no probability
    below 6e-8, which is a logit of -17, and integers have none at all. Layers with weights are not
    among them, nor what other nodes read too.
    """
    nodes = list(model.graph.node)  # they stand in the order they run in
    score = set(layers_of(model, stage, "score"))
    behind = {name for node in nodes if node.name in score for name in node.output}
    tail: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        if node.name not in score and behind & set(node.input):
            tail[node.name] = node
            behind |= set(node.output)
    readers: dict[str, list[str]] = {value.name: [""] for value in model.graph.output}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    for node in reversed(nodes):
        read_by = {reader for name in node.output for reader in readers.get(name, ())}
        joins = read_by and read_by <= tail.keys() and node.op_type not in _LAYERS
        if joins and node.name not in score:
            tail[node.name] = node
    return [node.name for node in nodes if node.name in tail]
