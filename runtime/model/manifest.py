"""Hold the content of `model.json`: all that the runtime knows about an exported model.

A picture is scaled to one or several views (`Views`). Stages run on each view and end in score
maps, one for each row of the table of grids (`Grid`). The best locations become windows, for which
further stages make masks, and if they do, ranks; or, in a model without such stages, boxes. A model
that tells categories apart has stages for the boxes, or scores for each category. The runtime knows
no stage or tensor by name; `docs/model-json.md` describes the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from deepmask.runtime.errors import UsageError
from deepmask.runtime.model.half_recall import HalfRecall

VIEW, WINDOWS, BOXES = "view", "windows", "boxes"
#: What a tensor is to the runtime. A "map" passes from a stage to later ones.
ROLES = ("image", "locations", "boxes", "map", "score", "mask", "rank", "class", "delta")
#: Layers of a stage, named by the weights they read, that lower precisions treat apart:
#: "normalisation", "score" and "hidden_score" (its last layer and the one before), "skips" (layers
#: that make skip maps), "code" (in a stage for windows: the layer that ends a window's code).
LAYER_ROLES = ("normalisation", "score", "hidden_score", "skips", "code")

Axis = int | str


class ModelFolderError(UsageError):
    """A model folder that cannot be used; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor at a stage's edge.

    role    one of `ROLES`.
    dtype   "float32" or "int64".
    axes    fixed sizes, or names of sizes that change: "height" and "width" of the canvas in
            pixels, "height/N" and "width/N" in cells of N pixels, "rows" and "cols" of the first
            grid's score map, "n" for windows or boxes, "any" for what only the stage knows: 1 to as
            many as the canvas has pixels.
    """

    role: str
    dtype: str
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Stage:
    """One ONNX file of the folder.

    name     for messages and timing.
    per      `VIEW`: runs once for each view; `WINDOWS`: once for each batch of windows; `BOXES`:
             once for the boxes of a picture's best proposals.
    inputs, outputs  its tensors by name. Tensors of one name are one and the same.
    layers   weights by role, see `LAYER_ROLES`.
    grids    names of the grids whose windows it is for; None: all. Only of a stage for windows.
    """

    name: str
    file: str
    sha256: str
    per: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    layers: Mapping[str, tuple[str, ...]]
    grids: tuple[str, ...] | None = None

    def with_role(self, role: str) -> list[str]:
        """Return the names of the tensors, inputs first, that have a role."""
        tensors = {**self.inputs, **self.outputs}
        return [name for name, spec in tensors.items() if spec.role == role]


@dataclass(frozen=True)
class Scales:
    """Scales 2^start … 2^stop (both included) in steps of 2^step."""

    start: float
    stop: float
    step: float

    def factors(self) -> tuple[float, ...]:
        """Return the scale factors, ascending."""
        count = math.floor((self.stop - self.start) / self.step + 1e-6) + 1
        return tuple(2.0 ** (self.start + k * self.step) for k in range(count))

    def zoomed(self, times: int = 1) -> Scales:
        """Add larger scales, for small objects: one in DeepMaskZoom (§4), two in Zoom²."""
        return Scales(self.start, self.stop + times * self.step, self.step)


def checked_scales(start: float, stop: float, step: float) -> Scales:
    """Return scales that give 1 to 64 views; raises `ModelFolderError`."""
    if not -8 <= start <= stop <= 5:
        raise ModelFolderError(f"from 2^{start:g} to 2^{stop:g}: powers are -8 to 5, ascending")
    if not (step > 0 and (stop - start) / step < 64):
        raise ModelFolderError(f"step {step:g}: more than 0, and fewer than 64 scales")
    return Scales(start, stop, step)


@dataclass(frozen=True)
class Views:
    """How a picture is scaled and painted before the network sees it.

    scales     of the views by default.
    max_side   longest side in pixels that scale 1 may have; larger pictures are seen smaller.
    enlarge    whether scale 1 has exactly that side, so that smaller pictures are seen larger.
    border     pixels of `fill` painted around each view. A VGG-A's trunk takes them for granted.
    fill       gray value of the border and of what lies beside the view, 0…255.
    multiple   canvas sides, without the border, are multiples of so many pixels.
    """

    scales: Scales
    max_side: int
    enlarge: bool
    border: int
    fill: float
    multiple: int


@dataclass(frozen=True)
class Grid:
    """The windows of one score map.

    Location (i, j) is the window of `window` pixels, a square's side or (height, width), whose
    centre is at `stride` · (i + `offset`), `stride` · (j + `offset`) of the view.
    score, channel   the tensor (1, C, rows, cols) of logits, and the channel that is this grid's;
                     the first of them where there is one for each category.
    mask_size        samples a side of its mask; None where windows are boxes and get no mask.
    delta, delta_channel  the tensor (1, C, rows, cols) and the first of four channels that move
                     each window to a better box; None: windows stay where they are.
    """

    name: str
    score: str
    channel: int
    stride: int
    window: int | tuple[float, float]
    mask_size: int | None
    offset: float
    delta: str | None = None
    delta_channel: int | None = None

    @property
    def sides(self) -> tuple[float, float]:
        """Height and width of the windows in pixels of the view."""
        return self.window if isinstance(self.window, tuple) else (self.window, self.window)

    @property
    def cells(self) -> int:
        """Cells of its own level that a window has along its longer side, 1 at least."""
        return max(1, int(max(self.sides) // self.stride))


@dataclass(frozen=True)
class Chain:
    """Stages for windows in their order, and the indices of the grids whose windows all take."""

    grids: tuple[int, ...]
    stages: tuple[Stage, ...]

    def tensor(self, role: str) -> str:
        """Return the name of the first tensor with a role; "" if there is none."""
        names = (name for stage in self.stages for name in stage.with_role(role))
        return next(names, "")


def window_chains(stages: Sequence[Stage], grids: Sequence[Grid]) -> tuple[Chain, ...]:
    """Return the stages that serve each grid; grids that the same ones serve share a chain.

    There are none in a model that gives boxes only.
    """
    if not any(stage.per == WINDOWS for stage in stages):
        return ()
    found: dict[tuple[str, ...], Chain] = {}
    for index, grid in enumerate(grids):
        serving = tuple(
            stage
            for stage in stages
            if stage.per == WINDOWS and (stage.grids is None or grid.name in stage.grids)
        )
        key = tuple(stage.name for stage in serving)
        before = found[key].grids if key in found else ()
        found[key] = Chain((*before, index), serving)
    return tuple(found.values())


@dataclass(frozen=True)
class Category:
    """What a model calls some objects. Class logit k + 1, or score k, is of the k-th category.

    id    in results; that of the labels it was trained on.
    """

    id: int
    name: str


@dataclass(frozen=True)
class Coarse:
    """The parts of a refined model that differ when its masks are left coarse."""

    grids: tuple[Grid, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Manifest:
    """The content of `model.json`.

    threshold    mask probability above which a pixel belongs to a mask, by default.
    overlap      IoU with a better proposal above which a near-duplicate is ranked lower, and a box
                 without a mask left out; 1: never.
    scale_prior  logits that a score gains for each octave that its window is larger in the picture.
    calibration  (score, value) pairs, scores ascending: what users see in place of a probability,
                 linear in between; None: the probability itself.
    categories   what the model tells apart; None for class-agnostic models.
    label_score  probability from which a category's name is given to a mask, or a box without a
                 mask is kept, by default.
    coarse       there if the masks are refined.
    half         recall in float16, where it was measured: TensorRT computes in it if that holds.
    about        where the model comes from: for people and tools, never used to run it.
    """

    name: str
    precision: str
    views: Views
    grids: tuple[Grid, ...]
    stages: tuple[Stage, ...]
    threshold: float
    overlap: float
    scale_prior: float
    categories: tuple[Category, ...] | None
    coarse: Coarse | None
    about: Mapping[str, Any]
    calibration: tuple[tuple[float, float], ...] | None = None
    label_score: float | None = None
    half: HalfRecall | None = None

    @cached_property
    def view_stages(self) -> tuple[Stage, ...]:
        """The stages that run on each view, in order."""
        return tuple(stage for stage in self.stages if stage.per == VIEW)

    @cached_property
    def window_stages(self) -> tuple[Stage, ...]:
        """The stages that run on batches of windows, in order."""
        return tuple(stage for stage in self.stages if stage.per == WINDOWS)

    @cached_property
    def box_stages(self) -> tuple[Stage, ...]:
        """The stages that run on the boxes of proposals, in order; there may be none."""
        return tuple(stage for stage in self.stages if stage.per == BOXES)

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The stages that run on the windows of each grid, see `window_chains`."""
        return window_chains(self.stages, self.grids)

    @property
    def has_masks(self) -> bool:
        """Whether stages make masks of windows; else the model gives boxes only."""
        return bool(self.window_stages)

    @property
    def scores_a_window(self) -> int:
        """Scores that each window has: one, or one for each category that no later stage tells."""
        return 1 if self.box_stages else max(1, len(self.categories or ()))

    @property
    def ranks(self) -> bool:
        """Whether windows are ranked by a second look, and the first score only selects them."""
        return any(stage.with_role("rank") for stage in self.window_stages)

    def stage(self, name: str) -> Stage:
        """Return the stage of a name; raises KeyError."""
        return {stage.name: stage for stage in self.stages}[name]

    @property
    def mask_size(self) -> int:
        """Samples of a mask along a side, the same for all grids; 0 where there are no masks."""
        return self.grids[0].mask_size or 0

    def coarse_form(self) -> Manifest:
        """Return the model without its refinement: a model like any other, with the same scores.

        Raises `ModelFolderError` for a model that is not refined.
        """
        if self.coarse is None:
            raise ModelFolderError(
                f"{self.name} has no refinement, its masks are coarse as they are: "
                "leave --coarse out, or give a SharpMask model"
            )
        name, parts = f"{self.name}, coarse", self.coarse
        return replace(self, name=name, grids=parts.grids, stages=parts.stages, coarse=None)

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of every graph file, those of the coarse form too, by file name."""
        stages = [*self.stages, *(self.coarse.stages if self.coarse else ())]
        return {stage.file: stage.sha256 for stage in stages}
