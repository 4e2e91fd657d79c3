"""The graphs of a model on an engine: levels of a pyramid in, score maps and masks out.

What the graphs hand to each other stays on the engine's device. The host waits for scores once, and
once for as many masks as may wait there together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Engine, EngineError, Tensor
from deepmask.runtime.model.manifest import GRAPHS, TENSORS, Manifest
from deepmask.runtime.predict.select import Selection
from deepmask.runtime.predict.stage_timer import Clock
from deepmask.runtime.views.pyramid import Level, canvas_shape, render_level

#: Memory that the windows of one run of the mask graph may take, about.
_GATHER_BYTES = 96 << 20
#: Values that a mask graph holds for each sample of a mask: the last layers of a refinement have
#: several maps of the mask's own resolution.
_VALUES_PER_SAMPLE = 8
#: Masks that may wait on the device, to be fetched together.
_WAITING_BYTES = 64 << 20

Maps = dict[str, Tensor]  # one level's tensors by name


class Network:
    """Runs the graphs for one image after another; keeps nothing in between."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        """`engine` has the graphs of `manifest`."""
        self.manifest = manifest
        self.engine = engine

    def run_level(self, image: npt.NDArray[np.uint8], level: Level, clock: Clock) -> Maps:
        """What trunk and score graph make of an image at one scale: `score` and what masks need."""
        with clock.host("pyramid"):
            buffer = self.engine.buffer(canvas_shape(level), np.float32)
            render_level(image, level, self.manifest, buffer.array)
        with clock.device("trunk"):
            tensors = self._run("trunk", {"image": self.engine.send(buffer)})
        with clock.device("score"):
            return self._run("score", tensors)

    def scores(
        self, maps: Sequence[Maps], levels: Sequence[Level]
    ) -> list[npt.NDArray[np.float32]]:
        """The levels' score maps (rows, cols), waited for once and checked.

        They are taken out of `maps`.
        """
        tensors = [level.pop("score") for level in maps]
        for tensor, level in zip(tensors, levels, strict=True):
            shape, expected = self.engine.shape(tensor), (1, 1, level.rows, level.cols)
            if shape != expected:
                raise EngineError(
                    f"the score graph gave {shape} for a {level.height} x {level.width} scale, "
                    f"expected {expected}; export the checkpoint again"
                )
        with self.engine.fetched(tensors) as arrays:
            scores = [array[0, 0].copy() for array in arrays]
        if not all(np.isfinite(level).all() for level in scores):
            raise EngineError(
                "the score graph gave values that are not finite; export the checkpoint again"
            )
        return scores

    def masks(self, selection: Selection, maps: Sequence[Maps]) -> npt.NDArray[np.float32]:
        """Mask logits of the selected windows, (N, mask_size, mask_size)."""
        size = self.manifest.mask_size
        logits = np.empty((len(selection), size, size), np.float32)
        waiting: list[tuple[npt.NDArray[np.int64], Tensor]] = []
        for part, tensors in self._batches(selection, maps):
            count = len(part) + sum(len(other) for other, _ in waiting)
            if waiting and count * size**2 * 4 > _WAITING_BYTES:
                self._collect(waiting, logits)
                waiting = []
            waiting.append((part, self._run("mask", tensors)["mask"]))
        self._collect(waiting, logits)
        return logits

    def windows_at_once(self, tensors: Maps) -> int:
        """Windows whose gathered inputs, and what becomes of them, fit `_GATHER_BYTES`."""
        cells = self.manifest.patch // self.manifest.stride
        of_window = {"h": cells, "w": cells, "rows": 1, "cols": 1}
        values = _VALUES_PER_SAMPLE * self.manifest.mask_size**2
        for name in self.manifest.graphs["mask"].inputs:
            if name in tensors:
                axes, shape = TENSORS[name].axes, self.engine.shape(tensors[name])
                values += prod(
                    of_window.get(str(axis), size) for axis, size in zip(axes, shape, strict=True)
                )
        return min(max(1, _GATHER_BYTES // (4 * values)), self.engine.most_windows)

    def _run(self, graph: str, tensors: Maps) -> Maps:
        """Run a graph on those of `tensors` it names; all tensors that are still of use."""
        inputs = {name: tensors[name] for name in self.manifest.graphs[graph].inputs}
        known = {**tensors, **self.engine.run(graph, inputs)}
        later = GRAPHS[GRAPHS.index(graph) + 1 :]
        needed = {name for other in later for name in self.manifest.graphs[other].inputs}
        return {name: known[name] for name in known if name in needed or name == graph}

    def _batches(
        self, selection: Selection, maps: Sequence[Maps]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Maps]]:
        """Windows of a level, as many at once as memory allows: their ranks and their tensors."""
        locations = np.stack([selection.row, selection.col], axis=1)
        for index, tensors in enumerate(maps):
            chosen = np.flatnonzero(selection.level == index)
            step = self.windows_at_once(tensors)
            for start in range(0, len(chosen), step):
                part = chosen[start : start + step]
                yield part, {**tensors, "locations": self.engine.upload(locations[part])}

    def _collect(
        self,
        waiting: Sequence[tuple[npt.NDArray[np.int64], Tensor]],
        logits: npt.NDArray[np.float32],
    ) -> None:
        """Fetch masks, check them, and put them where their windows rank."""
        with self.engine.fetched([masks for _, masks in waiting]) as arrays:
            for (part, _), masks in zip(waiting, arrays, strict=True):
                if masks.shape != (len(part), *logits.shape[1:]) or not np.isfinite(masks).all():
                    raise EngineError(
                        f"the mask graph gave {masks.shape} for {len(part)} windows, or values "
                        "that are not finite; export the checkpoint again"
                    )
                logits[part] = masks
