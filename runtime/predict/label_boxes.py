"""Run the stages that tell what is in boxes (Fast R-CNN on proposals, DeepMask §4)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Engine, EngineError, Tensor
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.predict.classes import Classes
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.views.views import View

#: Masks of a picture that get a category, best first. On one thread of ONNX Runtime, COCO's
#: pictures, proposals with so many names take 1.25 times the processor time of proposals alone (50:
#: 1.15, 200: 1.46), with a light head that has a trunk of its own.
MOST_BOXES = 100
#: Offsets of boxes are learned times these, and sizes grow at most so many e-folds (R-CNN).
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MOST_GROWTH = log(1000 / 16)

Boxes = npt.NDArray[np.float64]


class BoxLabeller:
    """The stages for boxes of a model that has categories, on an engine."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self._stages = manifest.box_stages
        self._border = manifest.views.border
        self._categories = manifest.categories or ()
        self._engine = engine
        roles = {role: name for s in self._stages for role in _ROLES for name in s.with_role(role)}
        self._boxes = roles.pop("boxes", "")
        self._made = roles

    @property
    def name(self) -> str:
        """Name of the last stage, for timing."""
        return self._stages[-1].name

    def classes(
        self,
        boxes: Boxes,
        most: int,
        size: tuple[int, int],
        view: View,
        tensors: dict[str, Tensor],
        least: float,
        timer: StageTimer,
    ) -> Classes:
        """Return the categories of N proposals, of which the first `most` are looked at.

        boxes    (N, 4) XYWH in pixels of a picture of `size`, height and width; an empty one has
                 no category.
        tensors  what the stages of `view` made.
        least    see `Classes`.
        """
        asked = np.flatnonzero(boxes[:most, 2:].all(axis=1))
        count = len(self._categories)
        scores = np.zeros((len(boxes), count), np.float32)
        better = np.zeros((len(boxes), count, 4), np.float32) if "delta" in self._made else None
        with timer.host(self.name):
            corners = canvas_boxes(boxes[asked], view, self._border)
            for start in range(0, len(asked), self._engine.most_windows):
                part = slice(start, start + self._engine.most_windows)
                found = self._run(corners[part], tensors)
                scores[asked[part]] = softmax(found["class"])[:, 1:]
                if better is not None:
                    better[asked[part]] = moved_boxes(boxes[asked[part]], found["delta"], size)
        return Classes(self._categories, scores, better, least)

    def _run(
        self, corners: npt.NDArray[np.float32], tensors: dict[str, Tensor]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Return what the stages make of boxes, by role; raises `EngineError`."""
        given = {**tensors, self._boxes: self._engine.upload(corners)}
        for stage in self._stages:
            given |= self._engine.run(stage.name, {name: given[name] for name in stage.inputs})
        found = {}
        with self._engine.fetched([given[name] for name in self._made.values()]) as arrays:
            for role, array in zip(self._made, arrays, strict=True):
                count = len(self._categories)
                rest = (count + 1,) if role == "class" else (count, 4)
                if array.shape != (len(corners), *rest) or not np.isfinite(array).all():
                    raise EngineError(
                        f"{role} is {array.shape} for {len(corners)} boxes, or has values that "
                        "are not finite; export the checkpoint again"
                    )
                found[role] = array.astype(np.float64)
        return found


_ROLES = ("boxes", "class", "delta")


def nearest_to_one(views: Sequence[View]) -> int:
    """Return the index of the view whose scale is nearest to 1: the one that boxes are read in."""
    return min(range(len(views)), key=lambda index: abs(log(views[index].factor)))


def canvas_boxes(boxes: Boxes, view: View, border: int) -> npt.NDArray[np.float32]:
    """Return boxes of a picture, (N, 4) XYWH, as corners on a view's canvas: x0, y0, x1, y1."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    ratios = np.array([view.ratio_x, view.ratio_y] * 2)
    placed: npt.NDArray[np.float32] = (border + corners * ratios).astype(np.float32)
    return placed


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, C + 1) logits → probabilities."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: npt.NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return chances


def moved_boxes(
    boxes: Boxes, delta: npt.NDArray[np.float64], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the better box of each category (R-CNN's parametrisation), within the picture.

    boxes (N, 4) XYWH, not empty; delta (N, C, 4): dx, dy, dw, dh; size: height and width of the
    picture. Returns (N, C, 4) XYWH.
    """
    moves = delta / np.array(WEIGHTS)
    corner, sides = boxes[:, None, :2], boxes[:, None, 2:]
    centre = corner + sides / 2 + sides * moves[..., :2]
    half = sides * np.exp(np.minimum(moves[..., 2:], MOST_GROWTH)) / 2
    limit = np.array([size[1], size[0]], np.float64)
    low, high = np.clip(centre - half, 0, limit), np.clip(centre + half, 0, limit)
    return np.concatenate([low, high - low], axis=2)
