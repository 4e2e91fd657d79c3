"""Run the stages of a model: views in, score maps and masks out.

What the stages hand to each other stays on the engine's device. The host waits for scores once, and
once for as many masks as may wait there together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Engine, EngineError, Tensor
from deepmask.runtime.model.manifest import Manifest, Stage
from deepmask.runtime.predict.select import ScoreMap, Selection
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.views.grids import location_counts, map_shape
from deepmask.runtime.views.views import View, canvas_shape, render_view

#: Approximate memory for the windows of one run of a stage.
_GATHER_BYTES = 96 << 20
#: Values that a stage holds per sample of a mask: a refinement ends in several maps of its size.
_VALUES_PER_SAMPLE = 8
#: Masks that may wait on the device, to be fetched together.
_WAITING_BYTES = 64 << 20

Tensors = dict[str, Tensor]  # of one view, by name
Ranks = npt.NDArray[np.int64]


class Network:
    """A model's stages on an engine. Keeps nothing between calls."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self.engine = engine
        self._image = next(name for s in manifest.stages for name in s.with_role("image"))
        self._mask = next(name for s in manifest.stages for name in s.with_role("mask"))
        windows = manifest.window_stages
        self._locations = next(name for s in windows for name in s.with_role("locations"))
        stage = next(s for s in windows if self._locations in s.inputs)
        #: Columns of a location: row and column, before them the grid where there are several.
        self._columns = int(stage.inputs[self._locations].axes[1])
        self._kept = {grid.score for grid in manifest.grids}.union(*(s.inputs for s in windows))

    def run_view(self, image: npt.NDArray[np.uint8], view: View, timer: StageTimer) -> Tensors:
        """Run the stages of one view; return its scores and what masks need."""
        with timer.host("resize"):
            buffer = self.engine.buffer(canvas_shape(view), np.float32)
            render_view(image, view, self.manifest.views, buffer.array)
            tensors: Tensors = {self._image: self.engine.send(buffer)}
        for index, stage in enumerate(self.manifest.view_stages):
            with timer.device(stage.name):
                tensors |= self._run(stage, tensors)
            after = self.manifest.view_stages[index + 1 :]
            later = self._kept.union(*(stage.inputs for stage in after))
            tensors = {name: tensor for name, tensor in tensors.items() if name in later}
        return tensors

    def score_maps(self, tensors: Sequence[Tensors], views: Sequence[View]) -> list[ScoreMap]:
        """Wait once for the score maps of all views; return them for each view and grid.

        Raises `EngineError` for a map of another shape, or with values that are not finite.
        """
        grids = self.manifest.grids
        names = list(dict.fromkeys(grid.score for grid in grids))
        for one, view in zip(tensors, views, strict=True):
            self._check_shapes(one, view)
        maps = []
        with self.engine.fetched([one[name] for one in tensors for name in names]) as arrays:
            for index, view in enumerate(views):
                of_view = dict(zip(names, arrays[index * len(names) :], strict=False))
                for number, grid in enumerate(grids):
                    rows, cols = location_counts(view, grid)
                    logits = of_view[grid.score][0, grid.channel, :rows, :cols].copy()
                    maps.append(ScoreMap(index, number, logits))
        if not all(np.isfinite(one.logits).all() for one in maps):
            raise EngineError("the scores are not finite; export the checkpoint again")
        return maps

    def masks(
        self, selection: Selection, tensors: Sequence[Tensors], timer: StageTimer
    ) -> npt.NDArray[np.float32]:
        """Return the mask logits of the selected windows, (N, mask_size, mask_size)."""
        size = self.manifest.mask_size
        logits = np.empty((len(selection), size, size), np.float32)
        waiting: list[tuple[Ranks, Tensor]] = []
        with timer.host(self.manifest.window_stages[-1].name):
            for part, given in self._batches(selection, tensors):
                count = len(part) + sum(len(other) for other, _ in waiting)
                if waiting and count * size**2 * 4 > _WAITING_BYTES:
                    self._collect(waiting, logits)
                    waiting = []
                for stage in self.manifest.window_stages:
                    given = {**given, **self._run(stage, given)}
                waiting.append((part, given[self._mask]))
            self._collect(waiting, logits)
        return logits

    def windows_at_once(self, tensors: Tensors) -> int:
        """Return how many windows fit `_GATHER_BYTES` with what they gather and what becomes of it.

        A window is taken to read as many cells of any map as it has of its own grid.
        """
        cells = max(grid.window // grid.stride for grid in self.manifest.grids)
        values = _VALUES_PER_SAMPLE * self.manifest.mask_size**2
        for stage in self.manifest.window_stages:
            for name, spec in stage.inputs.items():
                if name in tensors:
                    shape = self.engine.shape(tensors[name])
                    values += prod(
                        size if isinstance(axis, int) else cells if "/" in axis else 1
                        for axis, size in zip(spec.axes, shape, strict=True)
                    )
        return min(max(1, _GATHER_BYTES // (4 * values)), self.engine.most_windows)

    def _run(self, stage: Stage, tensors: Tensors) -> Tensors:
        return self.engine.run(stage.name, {name: tensors[name] for name in stage.inputs})

    def _check_shapes(self, tensors: Tensors, view: View) -> None:
        for grid in self.manifest.grids:
            found = self.engine.shape(tensors[grid.score])
            expected = map_shape(view, grid, self.manifest.views.border)
            fits = len(found) == 4 and found[0] == 1 and found[2:] == expected
            if not fits or found[1] <= grid.channel:
                wanted = f"channel {grid.channel} of (1, …, {expected[0]}, {expected[1]})"
                raise EngineError(
                    f"the score map {grid.score} is {found} for a view of {view.height} x "
                    f"{view.width}, expected {wanted}; export the checkpoint again"
                )

    def _batches(
        self, selection: Selection, tensors: Sequence[Tensors]
    ) -> Iterator[tuple[Ranks, Tensors]]:
        """Yield windows of one view, as many as memory allows: their ranks and their tensors."""
        columns = np.stack([selection.grid, selection.row, selection.col], axis=1)
        locations = columns[:, -self._columns :]
        for index, of_view in enumerate(tensors):
            chosen = np.flatnonzero(selection.view == index)
            step = self.windows_at_once(of_view)
            for start in range(0, len(chosen), step):
                part = chosen[start : start + step]
                yield part, {**of_view, self._locations: self.engine.upload(locations[part])}

    def _collect(
        self, waiting: Sequence[tuple[Ranks, Tensor]], logits: npt.NDArray[np.float32]
    ) -> None:
        """Fetch masks, check them, and put them where their windows rank."""
        with self.engine.fetched([masks for _, masks in waiting]) as arrays:
            for (part, _), masks in zip(waiting, arrays, strict=True):
                if masks.shape != (len(part), *logits.shape[1:]) or not np.isfinite(masks).all():
                    raise EngineError(
                        f"masks are {masks.shape} for {len(part)} windows, or have values that are "
                        "not finite; export the checkpoint again"
                    )
                logits[part] = masks
