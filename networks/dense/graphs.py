"""What a family gives to export: dense graphs in PyTorch, and what `model.json` says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from deepmask.runtime.model.manifest import (
    Category,
    Coarse,
    Grid,
    Manifest,
    Scales,
    Stage,
    TensorSpec,
    Views,
)
from deepmask.runtime.views.grids import axis_size
from deepmask.runtime.views.views import View, plan_views

#: Height and width, at least, of the picture whose shapes graphs are traced with.
TRACED_SIZE = (80, 112)
TRACED_WINDOWS = 3


@dataclass(frozen=True)
class DenseGraph:
    """A module that becomes one ONNX file and one stage of the runtime; fields as in `Stage`.

    module   takes the inputs in order and returns the output, or a tuple of the outputs in order.
             No weight of it may have the name of an input or output.
    file     the ONNX file's name without its suffix.
    part_of  name of the graph that this one is cut out of: the same nodes with fewer outputs, so
             that what both make is equal to the bit. `module` is then only run in PyTorch.
    """

    name: str
    file: str
    per: str
    module: nn.Module
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    part_of: str = ""
    grids: tuple[str, ...] | None = None

    def stage(self) -> Stage:
        """Return the runtime's description of the graph, without the checksum of its file."""
        return Stage(
            self.name,
            f"{self.file}.onnx",
            "",
            self.per,
            dict(self.inputs),
            dict(self.outputs),
            dict(self.layers),
            self.grids,
        )

    def run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the module in PyTorch on tensors by name; returns its outputs by name."""
        found = self.module(*(tensors[name] for name in self.inputs))
        made = found if isinstance(found, tuple) else (found,)
        return dict(zip(self.outputs, made, strict=True))


#: (canvas (1, 3, H, W), locations (N, 2) or (N, 3)) → what the network as it was trained gives for
#: tensors of a form, by name: what parity compares the graphs with. Scores, masks and ranks must be
#: among them; what graphs make of windows is of all N here, whichever graphs they are shared among.
Reference = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class DenseForm:
    """Graphs that make proposals together, in the order they run, and what they must equal.

    named  the same as `reference` for what stages for boxes make: (canvas, boxes (n, 4)) → tensors
           by name, a class among them; None where there is no such stage.
    """

    graphs: tuple[DenseGraph, ...]
    reference: Reference
    named: Reference | None = None


@dataclass(frozen=True)
class DenseModel:
    """All graphs of a network.

    main    what the runtime runs.
    coarse  the same without refinement; None for a network that has none.
    """

    main: DenseForm
    coarse: DenseForm | None = None

    def forms(self) -> dict[str, DenseForm]:
        """Return the forms by name, "main" first."""
        return {"main": self.main, **({"coarse": self.coarse} if self.coarse else {})}

    def files(self) -> list[DenseGraph]:
        """Return every graph that becomes a file, once, those that others are cut out of first."""
        graphs = [graph for form in self.forms().values() for graph in form.graphs]
        unique = {graph.file: graph for graph in graphs}
        return sorted(unique.values(), key=lambda graph: bool(graph.part_of))


@dataclass(frozen=True)
class Description:
    """What a family says of a network in `model.json`; fields as in `Manifest`."""

    views: Views
    grids: tuple[Grid, ...]
    coarse_grids: tuple[Grid, ...] = ()
    categories: tuple[Category, ...] | None = None
    threshold: float = 0.2
    overlap: float = 1.0
    scale_prior: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)
    calibration: tuple[tuple[float, float], ...] | None = None
    label_score: float | None = None

    def with_defaults(
        self,
        scales: Scales | None = None,
        threshold: float | None = None,
        overlap: float | None = None,
        scale_prior: float | None = None,
    ) -> Description:
        """Return the description with other defaults for calls; None leaves one as it is."""
        return replace(
            self,
            views=replace(self.views, scales=scales or self.views.scales),
            threshold=self.threshold if threshold is None else threshold,
            overlap=self.overlap if overlap is None else overlap,
            scale_prior=self.scale_prior if scale_prior is None else scale_prior,
        )


def manifest_of(
    dense: DenseModel,
    description: Description,
    *,
    name: str,
    about: Mapping[str, Any],
) -> Manifest:
    """Return the manifest of graphs that compute in float32, without checksums of files."""

    def stages(form: DenseForm) -> tuple[Stage, ...]:
        return tuple(graph.stage() for graph in form.graphs)

    return Manifest(
        name=name,
        precision="fp32",
        views=description.views,
        grids=description.grids,
        stages=stages(dense.main),
        threshold=description.threshold,
        overlap=description.overlap,
        scale_prior=description.scale_prior,
        categories=description.categories,
        coarse=Coarse(description.coarse_grids, stages(dense.coarse)) if dense.coarse else None,
        about={**description.about, **about},
        calibration=description.calibration,
        label_score=description.label_score,
    )


def traced_view(views: Views) -> View:
    """Return the view of a picture of `TRACED_SIZE`, or larger, at its own size.

    It is no square, and has two cells at least along each side of the coarsest map: tracing takes a
    size of one for a constant, and may take equal ones for the same.
    """
    height, width = (max(TRACED_SIZE[k], (2 + k) * views.multiple) for k in (0, 1))
    return plan_views(height, width, (1.0,), views, max(height, width))[0]


def canvas_multiple(views: Views) -> int:
    """Return a number of pixels that the sides of all canvases are multiples of."""
    return math.gcd(views.multiple, 2 * views.border)


def example_inputs(graph: DenseGraph, manifest: Manifest) -> list[Tensor]:
    """Return a tensor of zeros for each input of a graph: shapes to trace with."""
    view = traced_view(manifest.views)
    return [
        torch.zeros(
            [axis_size(axis, view, manifest, TRACED_WINDOWS) for axis in spec.axes],
            dtype=getattr(torch, spec.dtype),
        )
        for spec in graph.inputs.values()
    ]
