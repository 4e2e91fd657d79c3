"""Find the layers of a graph that a lower precision treats apart, by the weights they read.

`Stage.layers` names the weights by role; names of weights come from the network's modules.
"""

from __future__ import annotations

import onnx

from deepmask.runtime.model.manifest import Stage


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
