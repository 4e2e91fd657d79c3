"""Optimisation profiles: the input shapes that an engine is built for.

An engine accepts shapes between a profile's minimum and maximum and is fastest near its optimum, so
there is one profile for each size at which a common photograph is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.model.manifest import Manifest, Stage, TensorSpec
from deepmask.runtime.views.grids import axis_size
from deepmask.runtime.views.views import View, plan_views

Shape = tuple[int, ...]

#: Height and width of the photograph that gets the optima: the most common size in COCO.
COMMON = (480, 640)
#: Windows that one call of a mask graph may ask for, and how many are usual in one level.
MOST_WINDOWS = 256
USUAL_WINDOWS = 128
#: Larger scales than the model's own that must fit too: `Scales.zoomed`, twice.
ZOOMS = 2
#: An axis whose size the graph itself fixes.
FIXED = -1
#: Optima are no closer than this power of two: more would be slow to build and no faster to run.
_LEAST_STEP = 0.5


@dataclass(frozen=True)
class Range:
    """Shapes from `min` to `max`, axis by axis, with the best speed at `opt`."""

    min: Shape
    opt: Shape
    max: Shape

    def __contains__(self, shape: Sequence[int]) -> bool:
        """Whether a shape fits."""
        sides = zip(self.min, shape, self.max, strict=False)
        return len(shape) == len(self.min) and all(
            low == FIXED or low <= size <= high for low, size, high in sides
        )

    def __str__(self) -> str:
        """min … max (best: opt)."""
        return f"{_text(self.min)} … {_text(self.max)} (best: {_text(self.opt)})"


#: The ranges of a graph's inputs, by tensor name.
Profile = Mapping[str, Range]


def profiles(manifest: Manifest, graph: Stage, max_side: int) -> list[Profile]:
    """The profiles of one graph, smallest first; profile k of every graph is for the same levels.

    Any level of an image fits the last, if the image is searched at the model's scales, or up to
    `ZOOMS` larger ones, and at no more than `max_side` pixels.
    """
    low = _level(manifest, (1, 1), 0)
    return [
        {name: _range(spec, low, opt, high, manifest) for name, spec in graph.inputs.items()}
        for opt, high in _buckets(manifest, max_side)
    ]


def choose_profile(profiles: Sequence[Profile], shapes: Mapping[str, Sequence[int]]) -> int:
    """The first profile that the input shapes fit; raises `EngineError` where none does."""
    for index, profile in enumerate(profiles):
        if all(tuple(shapes[name]) in accepted for name, accepted in profile.items()):
            return index
    given = ", ".join(f"{name} {_text(shapes[name])}" for name in profiles[-1])
    limits = ", ".join(f"{name} {accepted}" for name, accepted in profiles[-1].items())
    raise EngineError(
        f"the engine was not built for {given}; it takes {limits}: "
        "use a smaller --max-side or fewer --scales, or another engine"
    )


def _buckets(manifest: Manifest, max_side: int) -> list[tuple[Level, Level]]:
    """Pairs of the best and the largest level, in ascending order.

    A common photograph is at the best of each; a bucket ends half way to the next one, and the last
    holds whatever is larger. Buckets that end alike, as those of tiny pictures do, are one.
    """
    scales = manifest.views.scales
    for _ in range(ZOOMS):
        scales = scales.zoomed()
    top, step = log2(scales.factors()[-1]), max(scales.step, _LEAST_STEP)
    count = 1 + ceil((top - scales.start) / step - 1e-6)
    side = min(max(COMMON), max_side)
    height, width = (round(length * side / max(COMMON)) for length in COMMON)
    pairs = {}
    for k in range(count):
        power = min(scales.start + k * step, top)
        end = _level(manifest, (side, side), min(power + step / 2, top))
        if k == count - 1:
            end = _level(manifest, (max_side, max_side), top)
        pairs[end.canvas_width] = (_level(manifest, (height, width), power), end)
    return list(pairs.values())


def _level(manifest: Manifest, size: tuple[int, int], power: float) -> View:
    return plan_views(*size, (2.0**power,), manifest.views, max(size))[0]


def _range(spec: TensorSpec, low: View, opt: View, high: View, manifest: Manifest) -> Range:
    windows = (1, USUAL_WINDOWS, MOST_WINDOWS)
    return Range(
        *(
            tuple(axis_size(axis, view, manifest, count) for axis in spec.axes)
            for view, count in zip((low, opt, high), windows, strict=True)
        )
    )


def _text(shape: Sequence[int]) -> str:
    return "×".join("?" if size == FIXED else str(size) for size in shape)
