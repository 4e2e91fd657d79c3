"""What each stage is fed while its ranges are measured: what the runtime will feed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepmask.runtime.engines.base import Engine
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.manifest import WINDOWS, Manifest, Stage
from deepmask.runtime.progress import Progress, no_progress
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import View, plan_views, render_view

Feed = dict[str, NDArray[Any]]


def feeds(
    stage: Stage,
    files: Sequence[Path],
    manifest: Manifest,
    engine: Engine,
    progress: Progress = no_progress,
) -> Iterator[Feed]:
    """Yield the inputs of a stage, by name, for every view of every photograph.

    engine  runs the float32 stages in front of it.
    A stage that runs on windows is fed with locations such that every cell that a window can hold
    is in one of theirs.
    """
    for done, path in enumerate(files, 1):
        image = read_image(path)
        height, width = image.shape[:2]
        for view in plan_views(height, width, manifest.views.scales.factors(), manifest.views):
            canvas = render_view(image, view, manifest.views)
            tensors = _tensors_before(stage, canvas, manifest, engine)
            if stage.per == WINDOWS:
                for name in stage.with_role("locations"):
                    tensors[name] = covering(view, manifest, stage)
            yield {name: tensors[name] for name in stage.inputs}
        progress(f"calibrating {stage.name}", done, len(files))


def covering(view: View, manifest: Manifest, stage: Stage) -> NDArray[np.int64]:
    """Return locations of windows that hold what a view's windows hold: (N, 2) or (N, 3) int64."""
    rows: list[tuple[int, int, int]] = []
    for index, grid in enumerate(manifest.grids):
        step = max(1, grid.window // grid.stride)
        vertical, horizontal = (
            [*range(0, count - 1, step), count - 1] for count in location_counts(view, grid)
        )
        rows += [(index, row, col) for row in vertical for col in horizontal]
    (name,) = stage.with_role("locations")
    columns = stage.inputs[name].axes[1]
    assert isinstance(columns, int)
    return np.array(rows, np.int64)[:, 3 - columns :]


def _tensors_before(
    stage: Stage, canvas: NDArray[np.float32], manifest: Manifest, engine: Engine
) -> Feed:
    """Return the inputs of a stage that the float32 stages before it make of a canvas."""
    (image,) = {name for one in manifest.stages for name in one.with_role("image")}
    if stage.name == manifest.stages[0].name:
        return {image: canvas}
    tensors = {image: engine.upload(canvas)}
    for before in manifest.view_stages:
        if before.name == stage.name:
            break
        tensors |= engine.run(before.name, {name: tensors[name] for name in before.inputs})
    return {name: engine.fetch(tensors[name]) for name in stage.inputs if name in tensors}
