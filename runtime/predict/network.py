"""Run the stages of a model: views in, score maps, masks and ranks out.

What the stages hand to each other stays on the engine's device. The host waits for scores once, and
once for as many masks as may wait there together: on a CPU, for those of one run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Engine, EngineError, Tensor
from deepmask.runtime.model.manifest import Axis, Chain, Grid, Manifest, Stage
from deepmask.runtime.predict.select import ScoreMap, Selection
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.views.grids import location_counts, map_shape
from deepmask.runtime.views.views import View

#: Windows run in multiples of so many: what is over is computed one by one, and rounds otherwise.
_TOGETHER = 16
#: Values that a stage holds per sample of a mask: a refinement ends in several maps of its size.
_VALUES_PER_SAMPLE = 8

Tensors = dict[str, Tensor]  # of one view, by name
Indices = npt.NDArray[np.int64]  # of windows in a selection
_Waiting = tuple[Indices, list[Tensor]]  # with a tensor for each role that is asked for


class Network:
    """A model's stages on an engine. Keeps nothing between calls."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self.engine = engine
        self._image = next(name for s in manifest.stages for name in s.with_role("image"))
        #: Maps that the host waits for, finest first: scores, and offsets where windows move.
        self._maps = list(dict.fromkeys(grid.score for grid in manifest.grids))
        self._maps += dict.fromkeys(grid.delta for grid in manifest.grids if grid.delta)
        self._for_proposals = {*self._maps}.union(
            *(stage.inputs for stage in manifest.window_stages)
        )
        self._for_names = set[str]().union(*(stage.inputs for stage in manifest.box_stages))

    def picture(self, image: npt.NDArray[np.uint8], timer: StageTimer) -> Any:
        """Give the engine a picture once for all its views."""
        with timer.device("resize"):
            return self.engine.picture(image)

    def run_view(
        self,
        picture: Any,
        view: View,
        timer: StageTimer,
        *,
        proposals: bool = True,
        names: bool = True,
    ) -> Tensors:
        """Run the stages of one view that proposals, names or both need; return what they read."""
        wanted = {name for name in self._for_proposals if proposals}
        wanted |= {name for name in self._for_names if names}
        stages = needed_stages(self.manifest.view_stages, wanted)
        with timer.device("resize"):
            canvas = self.engine.canvas(picture, view, self.manifest.views)
        tensors: Tensors = {self._image: canvas}
        for index, stage in enumerate(stages):
            with timer.device(stage.name):
                tensors |= self._run(stage, tensors)
            later = wanted.union(*(after.inputs for after in stages[index + 1 :]))
            tensors = {name: tensor for name, tensor in tensors.items() if name in later}
        return tensors

    def look(
        self,
        image: npt.NDArray[np.uint8],
        views: Sequence[View],
        timer: StageTimer,
        named: int | None = None,
    ) -> tuple[list[Tensors], list[ScoreMap]]:
        """Run the stages of all views of an image: what later stages read, and the scores.

        named  index of the view that boxes are named in; None: none are.
        """
        picture = self.picture(image, timer)
        tensors = [
            self.run_view(picture, view, timer, names=index == named)
            for index, view in enumerate(views)
        ]
        return tensors, self.score_maps(tensors, views)

    def score_maps(self, tensors: Sequence[Tensors], views: Sequence[View]) -> list[ScoreMap]:
        """Wait once for the score maps of all views; return them for each view and grid.

        Raises `EngineError` for a map of another shape, or with values that are not finite.
        """
        names, scores = self._maps, self.manifest.scores_a_window
        for one, view in zip(tensors, views, strict=True):
            self._check_shapes(one, view)
        maps = []
        with self.engine.fetched([one[name] for one in tensors for name in names]) as arrays:
            for index, view in enumerate(views):
                of_view = dict(zip(names, arrays[index * len(names) :], strict=False))
                for number, grid in enumerate(self.manifest.grids):
                    rows, cols = location_counts(view, grid)
                    own = [
                        of_view[name][0, first : first + count, :rows, :cols].copy()
                        for name, first, count in _channels(grid, scores)
                    ]
                    maps.append(ScoreMap(index, number, *own))
        values = [array for one in maps for array in (one.logits, one.delta) if array is not None]
        if not all(np.isfinite(array).all() for array in values):
            raise EngineError("the scores are not finite; export the checkpoint again")
        return maps

    def masks(
        self, selection: Selection, tensors: Sequence[Tensors], timer: StageTimer
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32] | None]:
        """Return the mask logits of N selected windows, (N, mask_size, mask_size), and ranks.

        Logits have the engine's `mask_dtype`. Ranks are logits, (N,); None if the model's stages
        make none. Both are in the order of `selection`, and do not depend on which windows run
        together.
        """
        count, size = len(selection), self.manifest.mask_size
        found: dict[str, npt.NDArray[Any]] = {}
        found["mask"] = np.empty((count, size, size), self.engine.mask_dtype)
        if self.manifest.ranks:
            found["rank"] = np.empty(count, np.float32)
        waiting: list[_Waiting] = []
        for chain in self.manifest.chains:
            with timer.host(chain.stages[-1].name):
                self._run_chain(chain, selection, tensors, waiting, found)
                if chain is self.manifest.chains[-1]:
                    self._collect(waiting, found)
        return found["mask"], found.get("rank")

    def _run_chain(
        self,
        chain: Chain,
        selection: Selection,
        tensors: Sequence[Tensors],
        waiting: list[_Waiting],
        found: dict[str, npt.NDArray[Any]],
    ) -> None:
        """Run a chain's windows. What may not wait, of other chains too, is put into `found`."""
        names = {role: chain.tensor(role) for role in found}
        most = self.engine.waiting_bytes // (4 * self.manifest.mask_size**2)
        for part, given in self._batches(chain, selection, tensors):
            if waiting and len(part) + sum(len(other) for other, _ in waiting) > most:
                self._collect(waiting, found)
            for stage in chain.stages:
                given = {**given, **self._run(stage, given)}
            waiting.append((part, [given[name] for name in names.values()]))

    def windows_at_once(self, tensors: Tensors, chain: Chain) -> int:
        """Return how many windows one run takes, for what they gather and what becomes of it.

        A window is taken to read as many cells of any map as it has of its own grid, and of rows
        along an axis "any" four times as many: its cells of the next finer level.
        """
        cells = max(self.manifest.grids[index].cells for index in chain.grids)
        values = _VALUES_PER_SAMPLE * self.manifest.mask_size**2
        for stage in chain.stages:
            for name, spec in stage.inputs.items():
                if name in tensors:
                    shape = self.engine.shape(tensors[name])
                    if len(shape) != len(spec.axes):
                        raise EngineError(
                            f"the map {name} is {shape}, model.json says {len(spec.axes)} axes; "
                            "export the checkpoint again"
                        )
                    values += prod(
                        _read_along(axis, size, cells)
                        for axis, size in zip(spec.axes, shape, strict=True)
                    )
        fit = self.engine.window_bytes // (4 * values)
        fit -= fit % _TOGETHER if fit > _TOGETHER else 0
        return min(max(1, fit), self.engine.most_windows)

    def _run(self, stage: Stage, tensors: Tensors) -> Tensors:
        return self.engine.run(stage.name, {name: tensors[name] for name in stage.inputs})

    def _check_shapes(self, tensors: Tensors, view: View) -> None:
        for grid in self.manifest.grids:
            expected = map_shape(view, grid, self.manifest.views.border)
            for name, first, count in _channels(grid, self.manifest.scores_a_window):
                found = self.engine.shape(tensors[name])
                fits = len(found) == 4 and found[0] == 1 and found[2:] == expected
                if not fits or found[1] < first + count:
                    which = f"channel {first}" + (f" to {first + count - 1}" if count > 1 else "")
                    wanted = f"{which} of (1, …, {expected[0]}, {expected[1]})"
                    raise EngineError(
                        f"the score map {name} is {found} for a view of {view.height} x "
                        f"{view.width}, expected {wanted}; export the checkpoint again"
                    )

    def _batches(
        self, chain: Chain, selection: Selection, tensors: Sequence[Tensors]
    ) -> Iterator[tuple[Indices, Tensors]]:
        """Yield a chain's windows of one view, as many as memory allows: indices and tensors."""
        name = chain.tensor("locations")
        spec = next(stage.inputs[name] for stage in chain.stages if name in stage.inputs)
        # Row and column, before them the grid where there are several.
        columns = np.stack([selection.grid, selection.row, selection.col], axis=1)
        locations = columns[:, 3 - int(spec.axes[1]) :]
        served = np.isin(selection.grid, chain.grids)
        for index, of_view in enumerate(tensors):
            chosen = np.flatnonzero(served & (selection.view == index))
            step = self.windows_at_once(of_view, chain)
            for start in range(0, len(chosen), step):
                part = chosen[start : start + step]
                yield part, {**of_view, name: self.engine.upload(locations[part])}

    def _collect(
        self,
        waiting: list[_Waiting],
        found: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        """Fetch masks and ranks, check them, and put them where their windows are."""
        with self.engine.fetched([one for _, made in waiting for one in made]) as arrays:
            for index, (part, _) in enumerate(waiting):
                of_part = arrays[index * len(found) : (index + 1) * len(found)]
                for role, values in zip(found, of_part, strict=True):
                    shape = (len(part), *found[role].shape[1:])
                    if values.shape != shape or not _all_finite(values):
                        raise EngineError(
                            f"{role}s are {values.shape} for {len(part)} windows, or have values "
                            "that are not finite; export the checkpoint again"
                        )
                    found[role][part] = values
        waiting.clear()


def _all_finite(values: npt.NDArray[Any]) -> bool:
    """Return whether there is no infinity and no NaN; numpy is slow to tell of float16."""
    if values.dtype == np.float16:
        exponent = np.uint16(0x7C00)
        return not ((values.view(np.uint16) & exponent) == exponent).any()
    return bool(np.isfinite(values).all())


def _channels(grid: Grid, scores: int) -> list[tuple[str, int, int]]:
    """Return the channels that are a grid's, first of its scores, then of its offsets if any.

    The name of the map, the first channel, and how many there are.
    """
    own = [(grid.score, grid.channel, scores)]
    if grid.delta is not None and grid.delta_channel is not None:
        own.append((grid.delta, grid.delta_channel, 4))
    return own


def needed_stages(stages: Sequence[Stage], wanted: Set[str]) -> list[Stage]:
    """Return those of the stages, in order, that some tensors need to be made."""
    names = set(wanted)
    needed: list[Stage] = []
    for stage in reversed(stages):
        if names & stage.outputs.keys():
            needed.insert(0, stage)
            names |= stage.inputs.keys()
    return needed


def _read_along(axis: Axis, size: int, cells: int) -> int:
    """Return how many of the `size` values along an axis a window of so many cells a side reads."""
    if isinstance(axis, int):
        return size
    if axis == "any":
        return min(size, 4 * cells**2)
    return cells if "/" in axis else 1
