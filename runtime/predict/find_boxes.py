"""Boxes of a picture's best windows: what a model without masks finds, such as RetinaNet.

Each window, an anchor, is scored and moved to a better box. Boxes that overlap a better one too
much are left out. Stages for boxes, if there are any, then tell what is in each (thesis §4.4,
chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from math import inf, log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.manifest import Grid
from deepmask.runtime.predict.calibrate import probabilities
from deepmask.runtime.predict.call import Call
from deepmask.runtime.predict.classes import Classes
from deepmask.runtime.predict.label_boxes import BoxLabeller, moved_boxes, nearest_to_one
from deepmask.runtime.predict.network import Network
from deepmask.runtime.predict.nms import NMS, kept_boxes
from deepmask.runtime.predict.proposals import Proposals
from deepmask.runtime.predict.select import ScoreMap, Selection, select_best, weigh_sizes
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.views.views import View

#: Candidates of each level that are moved, the best; and boxes that stages for boxes look at
#: (§4.4.2, §5.3).
MOST_OF_LEVEL, MOST_REGIONS = 1000, 1000

Boxes = npt.NDArray[np.float64]


class Found(NamedTuple):
    """N boxes, best first: (N, 4) XYWH in the picture, labels (N,), probabilities (N,) float32.

    A label is an index into the categories, 0 where boxes have none.
    """

    boxes: Boxes
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


class BoxFinder:
    """All windows are scored and moved, the best boxes are kept, and these may get names."""

    def __init__(
        self, network: Network, labeller: BoxLabeller, turn: AbstractContextManager[object]
    ) -> None:
        """`turn` is held while the network runs."""
        self._network = network
        self._manifest = network.manifest
        self._labeller = labeller
        self._turn = turn

    def find(self, call: Call, timer: StageTimer) -> Proposals:
        """Return the best boxes of an image.

        With names, each has the one category that it is a box of, with that category's probability
        for its score; there may be several boxes in one place.
        """
        manifest, views = self._manifest, call.views(self._manifest)
        nearest = nearest_to_one(views)
        by_stage = call.least is not None and bool(manifest.box_stages)
        with self._turn:
            named = nearest if by_stage else None
            tensors, maps = self._network.look(call.image, views, timer, named)
        with timer.host("select"):
            most = MOST_REGIONS if by_stage else call.proposals
            found = self._best(call, maps, views, most)
        if call.least is None:
            return Proposals(found.scores, None, call.size, found_boxes=found.boxes)
        if by_stage:
            view, made = views[nearest], tensors[nearest]
            with self._turn:
                classes = self._labeller.classes(
                    found.boxes, most, call.size, view, made, call.least, timer
                )
            with timer.host("select"):
                found = detections(classes, found.boxes, call.proposals)
        categories = manifest.categories or ()
        names = Classes.of_labels(categories, found.labels, found.scores, call.least)
        return Proposals(found.scores, None, call.size, classes=names, found_boxes=found.boxes)

    def _best(
        self, call: Call, maps: Sequence[ScoreMap], views: Sequence[View], most: int
    ) -> Found:
        """Return the best boxes by the scores of their windows."""
        manifest, least = self._manifest, call.least or 0.0
        if call.least is None or manifest.box_stages:
            maps, least = [best_category(one) for one in maps], 0.0
        weighed = weigh_sizes(maps, views, manifest.grids, manifest.scale_prior)
        chosen = select_of_levels(weighed, manifest.grids, MOST_OF_LEVEL, least)
        boxes = candidate_boxes(chosen, maps, views, manifest.grids, call.size)
        kept = kept_boxes(boxes, chosen.category, call.overlap, most)
        scores = probabilities(chosen.logit[kept], manifest.calibration)
        return Found(boxes[kept], chosen.category[kept], scores)


def best_category(scores: ScoreMap) -> ScoreMap:
    """Return a map with one score a window, that of its most probable category."""
    return replace(scores, logits=scores.logits.max(axis=0, keepdims=True))


def select_of_levels(
    maps: Sequence[ScoreMap], grids: Sequence[Grid], most: int, least: float
) -> Selection:
    """Return the best candidates of each level, at most `most`, best first.

    A level is what one score map of one view has. Candidates have a probability of `least` or more.
    """
    bound = -inf if least <= 0 else inf if least >= 1 else log(least / (1 - least))
    levels: dict[tuple[int, str], list[ScoreMap]] = {}
    for one in maps:
        levels.setdefault((one.view, grids[one.grid].score), []).append(one)
    parts = [select_best(level, most) for level in levels.values()]
    whole = Selection.joined(parts)
    sure = np.flatnonzero(whole.logit >= bound)
    return whole.only(sure[np.argsort(-whole.logit[sure], kind="stable")])


def candidate_boxes(
    selection: Selection,
    maps: Sequence[ScoreMap],
    views: Sequence[View],
    grids: Sequence[Grid],
    size: tuple[int, int],
) -> Boxes:
    """Return the windows of N candidates, moved and cut to the picture: (N, 4) XYWH.

    size  height and width of the picture. A box beside it has no width or height.
    """
    windows = selection.boxes(views, grids)[:, [1, 0, 3, 2]]
    delta = np.zeros((len(selection), 4))
    for one in maps:
        if one.delta is not None:
            own = np.flatnonzero((selection.view == one.view) & (selection.grid == one.grid))
            delta[own] = one.delta[:, selection.row[own], selection.col[own]].T
    return moved_boxes(windows, delta[:, None], size)[:, 0]


def detections(classes: Classes, boxes: Boxes, most: int) -> Found:
    """Return what N boxes are of, best first; at most `most`.

    A box may be several things, each with a better box of its own.
    """
    rows, labels = np.nonzero((classes.scores >= classes.least) & (classes.scores > 0))
    scores = classes.scores[rows, labels]
    order = np.argsort(-scores, kind="stable")
    rows, labels, scores = rows[order], labels[order], scores[order]
    moved = boxes[rows] if classes.boxes is None else classes.boxes[rows, labels]
    own = moved.astype(np.float64)
    kept = kept_boxes(own, labels, NMS, most)
    return Found(own[kept], labels[kept], scores[kept])
