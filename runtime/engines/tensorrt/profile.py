"""Optimisation profiles: the input shapes that a plan is built for.

A plan accepts shapes between a profile's minimum and maximum and is fastest near its optimum, so
there is one profile for each size at which a common photograph is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2, prod

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.model.manifest import Manifest, Stage, TensorSpec
from deepmask.runtime.views.grids import axis_size
from deepmask.runtime.views.views import View, canvas_shape, plan_views

Shape = tuple[int, ...]

#: Height and width of the photograph that gets the optima: the most common size in COCO.
COMMON = (480, 640)
#: Sides of the largest picture that is resized on the GPU. Of a larger one fewer bytes go there
#: resized, and products of two matrices would cost more than the network.
LARGEST = 2048
#: Windows of one run: the fewest, the usual and the most; those of a model that sees a picture once
#: all come together.
WINDOWS = (1, 128, 256)
WINDOWS_OF_ONE_VIEW = (1, 512, 1024)
#: Optima are no closer than this power of two: more would be slow to build and no faster to run.
_LEAST_STEP = 0.5


@dataclass(frozen=True)
class Range:
    """Shapes from `min` to `max`, axis by axis, with the best speed at `opt`."""

    min: Shape
    opt: Shape
    max: Shape

    def __contains__(self, shape: Sequence[int]) -> bool:
        """Return whether a shape fits."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )

    def __str__(self) -> str:
        return f"{_text(self.min)} … {_text(self.max)} (best: {_text(self.opt)})"


#: The ranges of a stage's inputs, by tensor name.
Profile = Mapping[str, Range]


def profiles(
    manifest: Manifest, stage: Stage, max_side: int, top: float | None = None
) -> list[Profile]:
    """Return the profiles of a stage, smallest first; profile k of each is for the same views.

    Any view of an image fits the last, if the image is searched at scales up to 2^`top`, by default
    the model's own, and at no more than `max_side` pixels. Those between begin at half of what
    the one before ends at: a picture far from square takes the last.
    """
    own = manifest.views.scales.stop
    buckets = _buckets(manifest, max_side, own if top is None else top)
    low = _view(manifest, (1, 1), 0)
    found: list[Profile] = []
    for index, (best, high) in enumerate(buckets):
        inner = 0 < index < len(buckets) - 1
        least = _half(buckets[index - 1][1], manifest) if inner else low
        views = (least, best, high)
        found.append({key: _range(spec, views, manifest) for key, spec in stage.inputs.items()})
    return found


def choose_profile(profiles: Sequence[Profile], shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the first profile that the input shapes fit; raises `EngineError` where none does."""
    for index, profile in enumerate(profiles):
        if all(tuple(shapes[name]) in accepted for name, accepted in profile.items()):
            return index
    given = ", ".join(f"{name} {_text(shapes[name])}" for name in profiles[-1])
    limits = ", ".join(f"{name} {accepted}" for name, accepted in profiles[-1].items())
    raise EngineError(
        f"the plan was not built for {given}; it takes {limits}: "
        "use a smaller --max-side, load the model for larger scales, or use another engine"
    )


def _buckets(manifest: Manifest, max_side: int, stop: float) -> list[tuple[View, View]]:
    """Pairs of the best and the largest view, in ascending order.

    A common photograph is at the best of each; a bucket ends half way to the next one, and the last
    holds whatever is larger. Buckets that end alike, as those of tiny pictures do, are one.
    """
    scales = replace(manifest.views.scales, stop=stop)
    top, step = log2(scales.factors()[-1]), max(scales.step, _LEAST_STEP)
    count = 1 + ceil((top - scales.start) / step - 1e-6)
    side = max_side if manifest.views.enlarge else min(max(COMMON), max_side)
    height, width = (round(length * side / max(COMMON)) for length in COMMON)
    pairs = {}
    for k in range(count):
        power = min(scales.start + k * step, top)
        end = _view(manifest, (side, side), min(power + step / 2, top))
        if k == count - 1:
            end = _view(manifest, (max_side, max_side), top)
        pairs[end.canvas_width] = (_view(manifest, (height, width), power), end)
    return list(pairs.values())


def _view(manifest: Manifest, size: tuple[int, int], power: float) -> View:
    return plan_views(*size, (2.0**power,), manifest.views, max(size))[0]


def _half(view: View, manifest: Manifest) -> View:
    """Return a view of half the sides."""
    height, width = max(1, view.height // 2), max(1, view.width // 2)
    views = replace(manifest.views, enlarge=False)
    return plan_views(height, width, (1.0,), views, max(height, width))[0]


def _range(spec: TensorSpec, views: tuple[View, View, View], manifest: Manifest) -> Range:
    if spec.role == "picture":
        return Range((1, 1, 3), (*COMMON, 3), (LARGEST, LARGEST, 3))
    once = len(manifest.views.scales.factors()) == 1
    low, best, high = (
        [axis_size(axis, view, manifest, windows) for axis in spec.axes]
        for view, windows in zip(views, WINDOWS_OF_ONE_VIEW if once else WINDOWS, strict=True)
    )
    for index, axis in enumerate(spec.axes):
        if axis == "any":
            low[index], high[index] = 1, prod(canvas_shape(views[2])[2:])
    return Range(tuple(low), tuple(best), tuple(high))


def _text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
