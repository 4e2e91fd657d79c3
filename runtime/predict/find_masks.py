"""Masks of a picture's best windows, ranked: what a model with stages for windows finds."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.predict.calibrate import probabilities
from deepmask.runtime.predict.call import Call
from deepmask.runtime.predict.distinct import distinct_first
from deepmask.runtime.predict.encode import encode_masks
from deepmask.runtime.predict.label_boxes import MOST_BOXES, BoxLabeller, nearest_to_one
from deepmask.runtime.predict.network import Network, Tensors
from deepmask.runtime.predict.proposals import Proposals
from deepmask.runtime.predict.select import Selection, select_best, select_by_rank, weigh_sizes
from deepmask.runtime.predict.soft_nms import POOL, demote_duplicates
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.views.views import View


@dataclass(frozen=True)
class Windows:
    """The best N windows of a picture, before duplicates are demoted and masks are cut out.

    selection  where they are.
    boxes      (N, 4) float64: top, left, height, width in pixels of the picture.
    logits     (N, mask_size, mask_size) float32: samples of each mask over its window. Within a
               call they may be float16, as the engine gives them.
    """

    selection: Selection
    boxes: npt.NDArray[np.float64]
    logits: npt.NDArray[Any]


class MaskFinder:
    """All windows are scored, the best get masks, and the best of these get names."""

    def __init__(
        self,
        network: Network,
        labeller: BoxLabeller,
        turn: AbstractContextManager[object],
        threads: int,
    ) -> None:
        """`turn` is held while the network runs; `threads` encode an image's masks."""
        self._network = network
        self._manifest = network.manifest
        self._labeller = labeller
        self._turn = turn
        self._threads = threads

    def find(self, call: Call, timer: StageTimer) -> Proposals:
        """Return the best proposals of an image."""
        limit, count = call.overlap, call.proposals
        found, view, tensors = self.windows(call, max(count, POOL) if limit < 1 else count, timer)
        with timer.host("encode"):
            bound = log(call.threshold / (1 - call.threshold))
            encoded, boxes = encode_masks(
                found.logits, bound, found.boxes, call.size, self._threads
            )
        with timer.host("select"):
            scores = probabilities(found.selection.logit, self._manifest.calibration)
            if limit < 1:
                order, scores = demote_duplicates(scores, boxes, limit)
                first = distinct_first([encoded[index] for index in order])
                order, scores = order[first], np.minimum.accumulate(scores[first])
                encoded, boxes = [encoded[index] for index in order[:count]], boxes[order]
        result = Proposals(scores[:count], encoded, call.size)
        if call.least is None:
            return result
        with self._turn:
            classes = self._labeller.classes(
                boxes[:count], MOST_BOXES, call.size, view, tensors, call.least, timer
            )
        return replace(result, classes=classes)

    def windows(self, call: Call, count: int, timer: StageTimer) -> tuple[Windows, View, Tensors]:
        """Return the best windows; and the view that boxes are read in, with what its stages made.

        Names are not asked for where `call.least` is None.
        """
        manifest, network = self._manifest, self._network
        views = call.views(manifest)
        nearest = nearest_to_one(views)
        with self._turn:
            named = None if call.least is None else nearest
            tensors, maps = network.look(call.image, views, timer, named)
            with timer.host("select"):
                weighed = weigh_sizes(maps, views, manifest.grids, manifest.scale_prior)
                # A second look ranks as many for every call, so that the best 100 of a call for
                # 100 are the best 100 of a call for 1000.
                selection = select_best(weighed, max(count, POOL) if manifest.ranks else count)
            logits, ranks = network.masks(selection, tensors, timer)
        if ranks is not None:
            with timer.host("select"):
                selection, order = select_by_rank(selection, ranks, count)
                logits = logits[order]
        windows = Windows(selection, selection.boxes(views, manifest.grids), logits)
        return windows, views[nearest], tensors[nearest]
