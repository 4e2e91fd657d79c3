"""What each stage is fed while its ranges are measured: what the runtime will feed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepmask.runtime.engines.base import Engine
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.manifest import WINDOWS, Chain, Manifest, Stage, TensorSpec, Views
from deepmask.runtime.progress import Progress, no_progress
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import View, plan_views, render_view

Feed = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Feeds:
    """The inputs of a stage, by name, for every view of every photograph; made anew each time.

    engine  runs the float32 stages in front of it.
    A stage that runs on windows is fed with locations such that every cell that a window of its
    grids can hold is in one of theirs.
    """

    stage: Stage
    files: Sequence[Path]
    manifest: Manifest
    engine: Engine
    progress: Progress = no_progress

    def __iter__(self) -> Iterator[Feed]:
        """Yield them view by view."""
        stage, manifest = self.stage, self.manifest
        ways = list(_ways(stage, manifest))
        for done, path in enumerate(self.files, 1):
            image = read_image(path)
            height, width = image.shape[:2]
            for view in plan_views(height, width, manifest.views.scales.factors(), manifest.views):
                for before, grids in ways:
                    given: Feed = {
                        name: _canvas(image, view, manifest.views)
                        if spec.role == "image"
                        else covering(view, manifest, spec, grids)
                        for one in (*before, stage)
                        for name, spec in one.inputs.items()
                        if spec.role in ("image", "locations")
                    }
                    yield _inputs_of(stage, given, before, self.engine)
            self.progress(f"calibrating {stage.name}", done, len(self.files))


def _canvas(image: NDArray[np.uint8], view: View, views: Views) -> NDArray[np.float32]:
    """Paint a view's canvas, with a black and a white corner if it has no border.

    A range is the mean of all canvases'. Most photographs lack black or white, which it would cut
    off, and with the whole range of pixels every pixel is an integer.
    """
    canvas = render_view(image, view, views)
    if not views.border:
        canvas[..., 0, 0], canvas[..., -1, -1] = 0, 255
    return canvas


def _ways(stage: Stage, manifest: Manifest) -> Iterator[tuple[Sequence[Stage], Sequence[int]]]:
    """Yield the stages in front of a stage and the grids whose windows come to it that way."""
    seen = Chain((), ())  # what runs per view needs no windows
    for chain in manifest.chains if stage.per == WINDOWS else (seen,):
        row = [*manifest.view_stages, *chain.stages]
        names = [one.name for one in row]
        if stage.name in names:
            yield row[: names.index(stage.name)], chain.grids


def covering(
    view: View, manifest: Manifest, spec: TensorSpec, grids: Sequence[int]
) -> NDArray[np.int64]:
    """Return locations of windows that hold what a view's windows hold: (N, 2) or (N, 3) int64.

    spec   of the tensor of locations.
    grids  indices of those whose windows are meant.
    """
    rows: list[tuple[int, int, int]] = []
    for index in grids:
        grid = manifest.grids[index]
        step = grid.cells
        vertical, horizontal = (
            [*range(0, count - 1, step), count - 1] for count in location_counts(view, grid)
        )
        rows += [(index, row, col) for row in vertical for col in horizontal]
    columns = spec.axes[1]
    assert isinstance(columns, int)
    return np.array(rows, np.int64)[:, 3 - columns :]


def _inputs_of(stage: Stage, given: Feed, before: Sequence[Stage], engine: Engine) -> Feed:
    """Return the inputs of a stage: given, or made by the float32 stages before it."""
    tensors = {name: engine.upload(array) for name, array in given.items()}
    for one in before:
        tensors |= engine.run(one.name, {name: tensors[name] for name in one.inputs})
    return {
        name: given[name] if name in given else engine.fetch(tensors[name]) for name in stage.inputs
    }
