"""Run the graphs of a network on one picture: as modules in PyTorch, and as written files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepmask.networks.dense.graphs import DenseForm, DenseGraph
from deepmask.runtime.model.manifest import BOXES, VIEW, Chain, Grid, window_chains

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Sample:
    """One canvas (1, 3, H, W), what is compared on it, and all locations there are.

    windows  (N, 3) grid, row and column.
    boxes    (M, 4) float32: x0, y0, x1, y1 in pixels of the canvas.
    grids    the table of grids.
    """

    height: int
    width: int
    canvas: Tensor
    windows: Tensor
    boxes: Tensor
    counts: int
    grids: Sequence[Grid]


def locations_for(form: DenseForm, sample: Sample) -> Tensor:
    """Return a sample's windows as the stages of a form take them, (N, 2) or (N, 3) int64.

    Where no stage takes any, (N, 3).
    """
    specs = [spec for graph in form.graphs for spec in graph.inputs.values()]
    columns = next((spec.axes[1] for spec in specs if spec.role == "locations"), 3)
    assert isinstance(columns, int)
    return sample.windows[:, 3 - columns :].contiguous()


def chains_of(form: DenseForm, sample: Sample) -> list[tuple[Chain, NDArray[np.int64]]]:
    """Return the stages for windows of a form, and the indices of the sample's windows for each."""
    grid = sample.windows[:, 0].numpy()
    chains = window_chains([graph.stage() for graph in form.graphs], sample.grids)
    return [(chain, np.flatnonzero(np.isin(grid, chain.grids))) for chain in chains]


def predict_with_torch(form: DenseForm, sample: Sample) -> Tensors:
    """Return what the network as it was trained gives for tensors of a form, by name.

    What is made of windows is in the order of `predict_with_onnxruntime`: chain by chain, and only
    the windows that the tensor is made for.
    """
    with torch.inference_mode():
        found = form.reference(sample.canvas, locations_for(form, sample))
        if form.named is not None:
            found = {**found, **form.named(sample.canvas, sample.boxes)}
    tensors = {name: tensor.detach().numpy() for name, tensor in found.items()}
    rows: dict[str, list[NDArray[np.int64]]] = {}
    for chain, windows in chains_of(form, sample):
        for name in tensors.keys() & _per_window(chain):
            rows.setdefault(name, []).append(windows)
    return tensors | {name: tensors[name][np.concatenate(parts)] for name, parts in rows.items()}


def predict_with_onnxruntime(folder: Path, form: DenseForm, sample: Sample) -> Tensors:
    """Return every tensor of a form by its graphs, each fed with what those before it gave."""
    graphs = {graph.name: graph for graph in form.graphs}
    known: dict[str, NDArray[Any]] = {}
    for graph in form.graphs:
        if graph.per == VIEW:
            known |= {name: sample.canvas.numpy() for name in graph.stage().with_role("image")}
            known |= run_graph(folder, graph, known)
    found = dict(known)
    parts: dict[str, list[NDArray[Any]]] = {}
    for chain, windows in chains_of(form, sample):
        locations = locations_for(form, sample).numpy()[windows]
        tensors = {**known, chain.tensor("locations"): locations}
        for stage in chain.stages:
            tensors |= run_graph(folder, graphs[stage.name], tensors)
        found |= {name: tensor for name, tensor in tensors.items() if name not in known}
        for name in _per_window(chain):
            parts.setdefault(name, []).append(tensors[name])
    for graph in form.graphs:
        if graph.per == BOXES:
            known |= {name: sample.boxes.numpy() for name in graph.stage().with_role("boxes")}
            made = run_graph(folder, graph, known)
            known |= made
            found |= made
    return found | {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _per_window(chain: Chain) -> set[str]:
    """Return the names of the tensors that have a row for each window, and are made of it."""
    made = [item for stage in chain.stages for item in stage.outputs.items()]
    return {name for name, spec in made if spec.axes[0] == "n"}


def run_graph(folder: Path, graph: DenseGraph, tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Run one written graph in ONNX Runtime; returns its outputs by name."""
    session = onnxruntime.InferenceSession(
        str(folder / f"{graph.file}.onnx"), providers=["CPUExecutionProvider"]
    )
    outputs = list(graph.outputs)
    made = session.run(outputs, {name: tensors[name] for name in graph.inputs})
    return dict(zip(outputs, made, strict=True))
