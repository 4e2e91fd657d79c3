"""`model.json`: everything the runtime knows about an exported model.

The exporter writes it, every engine reads it, and no number in it stands anywhere else. The tables
`GRAPH_INPUTS` and `GRAPH_OUTPUTS` declare each tensor that can cross from one graph to the next.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = "deepmask-model/1"
MANIFEST_NAME = "model.json"
GRAPHS = ("trunk", "score", "mask")


class ModelFolderError(Exception):
    """A model folder that cannot be used; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor at a graph's edge: axes are fixed sizes or names of dynamic sizes."""

    dtype: str
    axes: tuple[int | str, ...]


#: Every tensor that enters or leaves a graph, by name. `h`, `w` count stride-16 cells of the padded
#: image, `rows`, `cols` count locations, `n` counts windows. An axis named `channels`, `code` or
#: `mask_size` is fixed for one model. A graph may only use names from this table.
TENSORS: Mapping[str, TensorSpec] = {
    "image": TensorSpec("float32", (1, 3, "height", "width")),  # RGB, 0…255, padded, H and W % 16 == 0
    "features": TensorSpec("float32", (1, "channels", "h", "w")),
    "score": TensorSpec("float32", (1, 1, "rows", "cols")),  # logits
    "code": TensorSpec("float32", (1, "code", "rows", "cols")),  # what score and mask head share
    "locations": TensorSpec("int64", ("n", 2)),  # (row, col) of `score`
    "mask": TensorSpec("float32", ("n", "mask_size", "mask_size")),  # logits
}


@dataclass(frozen=True)
class Graph:
    """One ONNX file of the folder and the names of its inputs and outputs, keys of `TENSORS`."""

    file: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Scales:
    """Pyramid scales 2^start … 2^stop (both included) in steps of 2^step."""

    start: float
    stop: float
    step: float

    def factors(self) -> tuple[float, ...]:
        """The scale factors, ascending."""
        count = math.floor((self.stop - self.start) / self.step + 1e-6) + 1
        return tuple(2.0 ** (self.start + k * self.step) for k in range(count))


@dataclass(frozen=True)
class Manifest:
    """The content of `model.json`. Lengths are pixels of the scaled image.

    `border` is the gray margin, a multiple of `stride` and at least `patch / 2`, that the runtime
    paints around each scaled image; the score and mask graphs count locations from the first
    window, so that row i, column j of `score` is the window centred at (stride·i, stride·j).
    """

    name: str
    patch: int
    stride: int
    mask_size: int
    border: int
    fill: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    score_head: str
    precision: str
    weights: str
    opset: int
    scales: Scales
    threshold: float
    graphs: Mapping[str, Graph]
    parity: Mapping[str, Any]


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `model.json` into `folder`, through a temporary name."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1) + "\n"
    temporary = folder / (MANIFEST_NAME + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / MANIFEST_NAME)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
