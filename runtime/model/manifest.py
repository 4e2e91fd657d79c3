"""`model.json`: everything the runtime knows about an exported model.

The exporter writes it, every engine reads it, and no number in it stands anywhere else. The tables
`GRAPH_INPUTS` and `GRAPH_OUTPUTS` declare each tensor that can cross from one graph to the next.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.atomic import whole_file
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.graph_file import check_graph_file
from deepmask.runtime.validation import (
    ContentError,
    check_keys,
    integer,
    mapping,
    number,
    text,
    triple,
)

FORMAT = "deepmask-model/1"
MANIFEST_NAME = "model.json"
GRAPHS = ("trunk", "score", "mask")
#: Largest `model.json` that is read, in bytes.
MANIFEST_LIMIT = 1 << 20
#: A graph file is smaller, in bytes: protobuf's own limit on one message.
GRAPH_LIMIT = 1 << 31
#: Largest side of a mask: a thousand of them take a gigabyte.
LARGEST_MASK = 512


class ModelFolderError(OneLineError):
    """A model folder that cannot be used; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor at a graph's edge: axes are fixed sizes or names of dynamic sizes."""

    dtype: str
    axes: tuple[int | str, ...]


#: Every tensor that enters or leaves a graph, by name. `h`, `w` count cells of the padded image, of
#: `stride` pixels each, `rows`, `cols` count locations, `n` counts windows. An axis named as in
#: `FIXED_AXES` is fixed for one model. A graph may only use names from this table.
TENSORS: Mapping[str, TensorSpec] = {
    "image": TensorSpec(
        "float32", (1, 3, "height", "width")
    ),  # RGB, 0…255, its border and all, H and W % stride == 0
    "features": TensorSpec("float32", (1, "channels", "h", "w")),
    "skips": TensorSpec("float32", (1, "h", "w", "skips")),  # what refinement adds, cell by cell
    "score": TensorSpec("float32", (1, 1, "rows", "cols")),  # logits
    "code": TensorSpec("float32", (1, "code", "rows", "cols")),  # what score and mask head share
    "locations": TensorSpec("int64", ("n", 2)),  # (row, col) of `score`
    "mask": TensorSpec("float32", ("n", "mask_size", "mask_size")),  # logits
}
FIXED_AXES = ("channels", "skips", "code", "mask_size")


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

    def zoomed(self, times: int = 1) -> Scales:
        """Larger scales more, for small objects: one in DeepMaskZoom (§4), two in Zoom²."""
        return Scales(self.start, self.stop + times * self.step, self.step)


def checked_scales(start: float, stop: float, step: float) -> Scales:
    """Scales whose pyramid is finite and not empty; raises `ModelFolderError`."""
    low, high, most = -8, 5, 64
    if not low <= start <= stop <= high:
        raise ModelFolderError(
            f"from 2^{start:g} to 2^{stop:g}: powers are {low} to {high}, ascending"
        )
    if not (step > 0 and (stop - start) / step < most):
        raise ModelFolderError(f"step {step:g}: more than 0, and fewer than {most} scales")
    return Scales(start, stop, step)


@dataclass(frozen=True)
class Coarse:
    """What a refined model's coarse masks are made with: their side, and the graphs that differ."""

    mask_size: int
    graphs: Mapping[str, Graph]


@dataclass(frozen=True)
class Manifest:
    """The content of `model.json`. Lengths are pixels of the scaled image.

    `border` is the gray margin that the runtime paints around each scaled image, `patch / 2` and a
    multiple of `stride` more: a window's first pixel is then that of a cell. The score and mask
    graphs count locations from the first window, so that row i, column j of `score` is the window
    centred at (stride·i, stride·j). Border and `fill` are the export's to choose: the trunk graph
    of a VGG-A holds what they give.
    `scales`, `threshold` (a probability) and `overlap` (an IoU) are what a call uses by default.
    `scale_prior` are the logits that scores gain for each octave their scale is below 1.
    `coarse` is there if the model's masks are refined.
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
    overlap: float = 1.0
    scale_prior: float = 0.0
    coarse: Coarse | None = None

    def coarse_form(self) -> Manifest:
        """The model without its refinement: a model like any other, and the same scores.

        Raises `ModelFolderError` for a model that is not refined.
        """
        if self.coarse is None:
            raise ModelFolderError(
                f"{self.name} has no refinement, its masks are coarse as they are: "
                "leave --coarse out, or give a SharpMask model"
            )
        graphs = {**self.graphs, **self.coarse.graphs}
        return replace(
            self,
            name=f"{self.name}, coarse",
            mask_size=self.coarse.mask_size,
            graphs=graphs,
            coarse=None,
        )

    def files(self) -> list[Graph]:
        """Every graph of the folder, the coarse form's too."""
        return [*self.graphs.values(), *(self.coarse.graphs.values() if self.coarse else ())]


def load_manifest(folder: Path) -> Manifest:
    """Read and check a model folder: `model.json`, and that each graph file is the one it names.

    Raises `ModelFolderError` for a folder, file, key, type, range, tensor name, file name or hash
    that is not as it must be. File names are confined to the folder, and a graph must be complete
    in itself (see `graph_file`).
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ModelFolderError(
            f"{folder}: no {MANIFEST_NAME} there; a model is a folder written by deepmask-export"
        )
    try:
        manifest = _manifest(_read_json(path))
    except (ModelFolderError, ContentError) as error:
        raise ModelFolderError(f"{path}: {error}") from error
    for graph in manifest.files():
        _check_graph_file(folder / graph.file, graph.sha256)
    return manifest


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `model.json` into `folder`, through a temporary name."""
    content = {key: value for key, value in asdict(manifest).items() if value is not None}
    text = json.dumps({"format": FORMAT, **content}, indent=1) + "\n"
    with whole_file(folder / MANIFEST_NAME) as file:
        file.write(text.encode())


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MANIFEST_LIMIT:
        raise ModelFolderError(f"over {MANIFEST_LIMIT >> 20} MiB, not a model description")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError, OSError) as error:
        raise ModelFolderError(f"not readable as JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ModelFolderError(
            f"format is {found!r:.60}, this version reads {FORMAT!r}; export the checkpoint again"
        )
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _manifest(content: dict[str, Any]) -> Manifest:
    content = {"coarse": {}, "scale_prior": 0.0, **content}  # older folders lack these keys
    check_keys(content, {field.name for field in fields(Manifest)} | {"format"}, "")
    stride = integer(content, "stride", 1, 256)
    patch = integer(content, "patch", stride, 4096)
    border = integer(content, "border", (patch + 1) // 2, 8192)
    if patch % 2 or patch % stride or (border - patch // 2) % stride:
        raise ModelFolderError(
            f"patch {patch} must be even and a multiple of the stride {stride}, border {border} "
            "half of it and a multiple of the stride more"
        )
    threshold = number(content, "threshold", 0, 1)
    if threshold in (0, 1):
        raise ModelFolderError(f"threshold is {threshold}, it must lie between 0 and 1")
    graphs = _graphs(mapping(content, "graphs"))
    return Manifest(
        name=text(content, "name"),
        patch=patch,
        stride=stride,
        mask_size=integer(content, "mask_size", 2, LARGEST_MASK),
        border=border,
        fill=number(content, "fill", 0, 255),
        mean=triple(content, "mean"),
        std=triple(content, "std"),
        score_head=text(content, "score_head"),
        precision=text(content, "precision"),
        weights=text(content, "weights"),
        opset=integer(content, "opset", 1, 1000),
        scales=_scales(mapping(content, "scales")),
        threshold=threshold,
        overlap=number(content, "overlap", 0, 1),
        scale_prior=number(content, "scale_prior", -10, 10),
        graphs=graphs,
        parity=mapping(content, "parity"),
        coarse=_coarse(mapping(content, "coarse"), graphs),
    )


def _scales(values: dict[str, Any]) -> Scales:
    check_keys(values, {"start", "stop", "step"}, "scales: ")
    return checked_scales(*(number(values, key, -100, 100) for key in ("start", "stop", "step")))


def _graphs(values: dict[str, Any]) -> dict[str, Graph]:
    check_keys(values, set(GRAPHS), "graphs: ")
    graphs = {name: _graph(name, mapping(values, name)) for name in GRAPHS}
    _check_chain(graphs)
    return graphs


def _coarse(values: dict[str, Any], graphs: Mapping[str, Graph]) -> Coarse | None:
    if not values:
        return None
    check_keys(values, {"mask_size", "graphs"}, "coarse: ")
    given = mapping(values, "graphs")
    if unknown := sorted(set(given) - set(GRAPHS)):
        raise ModelFolderError(f"coarse: no graph is called {', '.join(unknown):.60}")
    others = {name: _graph(name, mapping(given, name)) for name in GRAPHS if name in given}
    _check_chain({**graphs, **others})
    return Coarse(integer(values, "mask_size", 2, LARGEST_MASK), others)


def _check_chain(graphs: Mapping[str, Graph]) -> None:
    """Each graph reads what those before it made, and makes what the runtime asks it for."""
    known = {"image"}
    for name in GRAPHS:
        known |= {"locations"} if name == "mask" else set()
        if missing := [tensor for tensor in graphs[name].inputs if tensor not in known]:
            raise ModelFolderError(f"graph {name} reads {missing}, which nothing before it makes")
        known |= set(graphs[name].outputs)
    for name in ("score", "mask"):
        if name not in graphs[name].outputs:
            raise ModelFolderError(f"graph {name} has no output {name!r}")


def _graph(name: str, values: dict[str, Any]) -> Graph:
    check_keys(values, {field.name for field in fields(Graph)}, f"graph {name}: ")
    file, digest = text(values, "file"), text(values, "sha256")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx", file):
        raise ModelFolderError(
            f"graph {name}: {file!r:.100} is not a plain .onnx file name in the model's own folder"
        )
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ModelFolderError(f"graph {name}: sha256 is not 64 hexadecimal digits")
    tensors = {}
    for side in ("inputs", "outputs"):
        names = values[side]
        if not isinstance(names, list) or not names or not all(n in list(TENSORS) for n in names):
            raise ModelFolderError(
                f"graph {name}: {side} are {names!r:.99}, expected names among {', '.join(TENSORS)}"
            )
        tensors[side] = tuple(names)
    return Graph(file, digest, **tensors)


def _check_graph_file(path: Path, digest: str) -> None:
    if not path.is_file():
        raise ModelFolderError(
            f"{path}: missing; the folder is incomplete, export or copy it again"
        )
    try:
        size = path.stat().st_size
        if not 0 < size < GRAPH_LIMIT:
            raise ModelFolderError(f"{path}: has {size} bytes, which no graph has")
        if sha256_of(path) != digest:
            raise ModelFolderError(
                f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; "
                "the file was changed or cut short, export or copy it again"
            )
        check_graph_file(path)
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read ({error.strerror})") from error
    except ContentError as error:
        raise ModelFolderError(f"{path}: {error}") from error
