"""Layers that stay in float32 when the rest of a graph computes in less, found by their names.

The names are those of the initialisers that a node reads, which come from the network's modules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx

#: The trunk's normalisation: pixel values and means have more digits than float16.
NORMALISATION = ("mean", "scale")
#: The score head's last two layers, and the last alone, on which the ranking hangs.
SCORE_HEAD = ("widen.weight", "classify.weight")
LAST_SCORE_LAYER = ("classify.weight",)
#: The last layers of a refined network's skip paths.
SKIP_MAP = re.compile(r"refine\.skips\.\d+\.join\.weight")


def normalisation(trunk: onnx.ModelProto) -> list[str]:
    """Names of the nodes between the picture and the first convolution."""
    return _readers(trunk, NORMALISATION)


def score_head(score: onnx.ModelProto) -> list[str]:
    """Names of the score head's last layers, and of what lies between them."""
    return _readers(score, SCORE_HEAD)


def last_score_layer(score: onnx.ModelProto) -> list[str]:
    """Names of the nodes of the score head's last layer."""
    return _readers(score, LAST_SCORE_LAYER)


def skip_maps(trunk: onnx.ModelProto) -> list[str]:
    """Names of the nodes that give the skip maps of a refined network; none if it is not."""
    names = [tensor.name for tensor in trunk.graph.initializer]
    return _readers(trunk, [name for name in names if SKIP_MAP.fullmatch(name)])


def _readers(model: onnx.ModelProto, initialisers: Sequence[str]) -> list[str]:
    """Nodes that read one of `initialisers`, and activations right behind such a node."""
    chosen: list[str] = []
    made: set[str] = set()
    for node in model.graph.node:
        if set(initialisers) & set(node.input) or (
            node.op_type == "Relu" and node.input[0] in made
        ):
            chosen.append(node.name)
            made |= set(node.output)
    return chosen
