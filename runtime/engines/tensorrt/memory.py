"""Tell before a plan is built, which takes minutes, whether the GPU has room to run it."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.profile import profiles
from deepmask.runtime.model.graph_file import fields_of
from deepmask.runtime.model.manifest import Manifest, Stage

#: Of float32.
_BYTES = 4


def require_room(
    manifest: Manifest, stage: Stage, graph: bytes, max_side: int, top: float, free: int
) -> None:
    """Raise `EngineError` if the first layer's maps alone need more than `free` bytes.

    They are the largest: what the first convolution gives and what is made of it lie there at once.
    The text has the --max-side that fits. `graph` is the content of the stage's file.
    """
    images = stage.with_role("image")
    values = first_layer(graph) if images else 0
    if not values:
        return
    widest = profiles(manifest, stage, max_side, top)[-1][images[0]].max
    needed = int(2 * _BYTES * values * prod(widest[2:]))
    if needed > free:
        fits = int(max_side * sqrt(free / needed))
        raise EngineError(
            f"{manifest.name} needs at least {needed / 2**30:.1f} GiB on the GPU for pictures of "
            f"{max_side} pixels a side at scale 2^{top:g}, {free / 2**30:.1f} are free: give "
            f"--max-side {fits} or smaller --scales, or --engine onnxruntime --device cpu"
        )


def first_layer(graph: bytes) -> float:
    """Return the values that a graph's first convolution gives for each pixel; 0 if none does."""
    [body] = [graph[a:b] for number, a, b in fields_of(graph, 0, len(graph)) if number == 7] or [
        b""
    ]
    sizes: dict[bytes, list[int]] = {}
    nodes = []
    for number, start, stop in fields_of(body, 0, len(body)):
        if number == 5:  # an initialiser
            parts = list(fields_of(body, start, stop))
            [name] = [body[a:b] for field, a, b in parts if field == 8] or [b""]
            sizes[name] = list(_numbers(body, parts, 1))
        elif number == 1:
            nodes.append(list(fields_of(body, start, stop)))
    for parts in nodes:
        inputs, outputs, kind = (
            [body[a:b] for field, a, b in parts if field == wanted] for wanted in (1, 2, 4)
        )
        if kind == [b"Cast"] and inputs[0] in sizes:  # weights are stored as float16
            sizes[outputs[0]] = sizes[inputs[0]]
        if kind == [b"Conv"] and inputs[1] in sizes:
            strides = [1]
            for field, a, b in parts:
                if field == 5:
                    attribute = list(fields_of(body, a, b))
                    if any(body[c:d] == b"strides" for key, c, d in attribute if key == 1):
                        strides = list(_numbers(body, attribute, 8))
            return sizes[inputs[1]][0] / prod(strides)
    return 0.0


def _numbers(body: bytes, parts: list[tuple[int, int, int]], wanted: int) -> Iterator[int]:
    """Yield the integers of a repeated field, which may be written one by one or together."""
    for field, start, stop in parts:
        if field != wanted:
            continue
        if not stop:
            yield start
            continue
        value = shift = 0
        for byte in body[start:stop]:
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                yield value
                value = shift = 0
