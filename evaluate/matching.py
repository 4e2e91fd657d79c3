"""Match proposals to objects as COCOeval does, and keep the result as ranks.

COCOeval visits an image's proposals by falling score and gives each to the free object that it
overlaps most. So what the k best proposals find is the beginning of what the 1000 best find: the
rank of the proposal that took an object is the k from which on that object counts as found. Average
recall, its curves and its intervals need these ranks only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask

from deepmask.coco.segmentation import Rle
from deepmask.evaluate.detections import Detections
from deepmask.evaluate.ground_truth import Objects

#: IoU 0.5, 0.55, …, 0.95, the very floats of pycocotools' Params.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10, endpoint=True)
#: Object areas in square pixels, both ends included, as in pycocotools' Params: an object of
#: exactly 32² is small and medium.
AREA_RANGES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
MAX_PROPOSALS = 1000

Ranks = dict[str, dict[str, npt.NDArray[np.int64]]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The proposals of one image, best first, at most `MAX_PROPOSALS`.

    scores (d,) float64, boxes (d, 4) float64 XYWH, rles: d masks, or None for boxes only.
    detections: what of them is called by which category; None without categories.
    names: what a person sees of them, each with its most probable category and that probability.
    """

    scores: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    rles: list[Rle] | None
    detections: Detections | None = None
    names: Detections | None = None


def rank_matches(candidates: Candidates, objects: Objects, kinds: tuple[str, ...]) -> Ranks:
    """Return ranks by kind ("segm", "bbox") and area range: (objects in the range, 10) int64.

    Entry (g, t) is the 1-based rank of the proposal matched to object g at `IOU_THRESHOLDS[t]`, or
    0. COCOeval matches anew for each area range, ignoring the objects outside it. A proposal takes
    an ignored object (or a crowd) only if no counted one is left for it. So ignored objects never
    change which counted ones are found, and matching the range's own objects gives the same.
    """
    return {kind: _by_area(overlaps(candidates, objects, kind), objects) for kind in kinds}


def overlaps(candidates: Candidates, objects: Objects, kind: str) -> npt.NDArray[np.float64]:
    """Return the IoU of each proposal with each object, (d, g) float64, by pycocotools."""
    count = (len(candidates.scores), len(objects.ids))
    if not all(count):
        return np.zeros(count)
    plain = np.zeros(count[1], np.uint8)
    if kind == "segm":
        ious = coco_mask.iou(candidates.rles, objects.rles, plain)
    else:
        ious = coco_mask.iou(candidates.boxes, objects.boxes, plain)
    return np.asarray(ious, np.float64).reshape(count)


def match(ious: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Match one image greedily: IoUs (d, g), rows by falling score, to ranks (g, 10).

    Each proposal in turn takes the free object of highest IoU that is at least the threshold; of
    equal IoUs it takes the later object, as COCOeval does.
    """
    ranks = np.zeros((ious.shape[1], len(IOU_THRESHOLDS)), np.int64)
    if not ious.size:
        return ranks
    lowest = float(IOU_THRESHOLDS[0])
    # Most proposals overlap nothing by half: what is left of the table is a few pairs a proposal.
    contenders = [
        (int(row), [(int(g), float(ious[row, g])) for g in np.flatnonzero(ious[row] >= lowest)])
        for row in np.flatnonzero(ious.max(axis=1) >= lowest)
    ]
    for t, threshold in enumerate(IOU_THRESHOLDS.tolist()):
        taken: set[int] = set()
        for row, pairs in contenders:
            best, chosen = threshold, -1
            for g, iou in pairs:
                if iou >= best and g not in taken:
                    best, chosen = iou, g
            if chosen >= 0:
                taken.add(chosen)
                ranks[chosen, t] = row + 1
    return ranks


def _by_area(ious: npt.NDArray[np.float64], objects: Objects) -> dict[str, npt.NDArray[np.int64]]:
    return {
        name: match(ious[:, (objects.areas >= low) & (objects.areas <= high)])
        for name, (low, high) in AREA_RANGES.items()
    }
