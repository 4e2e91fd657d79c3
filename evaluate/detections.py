"""Detections of an image: boxes and masks with a category and a score, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deepmask.coco.categories import VOC
from deepmask.coco.segmentation import Rle
from deepmask.runtime.predict.nms import NMS, best_of_overlapping

if TYPE_CHECKING:
    from deepmask.runtime.model.manifest import Category

#: As in Fast R-CNN: an image has so many detections at most. The least score changes AP little: it
#: is a bound on the work.
MOST, LEAST = 100, 0.01
#: A detection is ranked by the probability of its category times so high a power of the proposal's
#: own score: on COCO's validation pictures AP is higher with 2 than with 0.5 or 1.
_POWER = 2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Detections:
    """N detections of one image, of any order.

    categories (n,) int64, ids of the labels; scores (n,) float64; boxes (n, 4) float64 XYWH;
    rles: n masks, or None for boxes only.
    """

    categories: npt.NDArray[np.int64]
    scores: Floats
    boxes: Floats
    rles: list[Rle] | None


def detections_of(
    scores: Floats,
    boxes: npt.NDArray[np.float32],
    rles: Sequence[Rle] | None,
    ids: Sequence[int | None],
) -> Detections:
    """Return the detections among n proposals, each of which may be one of several categories.

    scores  (n, C) to rank by; boxes: (n, C, 4) XYWH, the box if it is of that category.
    rles    the masks of the proposals; None for boxes only.
    ids     of the C categories in the labels; None: the labels do not have it.
    """
    chosen: list[tuple[int, int]] = []
    for column, category in enumerate(ids):
        if category is None:
            continue
        own = scores[:, column]
        order = np.argsort(-own, kind="stable")
        order = order[own[order] >= LEAST]
        kept = best_of_overlapping(boxes[order, column].astype(np.float64), NMS, len(order))
        chosen += [(k, column) for k in order[kept].tolist()]
    rows, columns = np.array(chosen, np.int64).reshape(-1, 2).T
    best = np.argsort(-scores[rows, columns], kind="stable")[:MOST]
    rows, columns = rows[best], columns[best]
    known = np.array([-1 if one is None else one for one in ids], np.int64)
    return Detections(
        known[columns],
        scores[rows, columns],
        boxes[rows, columns].astype(np.float64),
        None if rles is None else [rles[row] for row in rows.tolist()],
    )


def ranked(label_scores: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
    """Return what detections are ranked by: that it is of the category, and is an object at all."""
    found: Floats = np.asarray(label_scores, np.float64) * np.asarray(scores, np.float64) ** _POWER
    return found


def ids_of(
    categories: Sequence[Category], labels: Mapping[int, str]
) -> tuple[list[int | None], list[str]]:
    """Return the labels' id of each of a model's categories, and the labels' names it lacks.

    Names are compared without case; PASCAL VOC's and COCO's names of a thing are one.
    """
    spelling = {other: name for name, other in VOC.items()}
    known = {spelling.get(name.casefold(), name.casefold()): one for one, name in labels.items()}
    names = [spelling.get(one.name.casefold(), one.name.casefold()) for one in categories]
    return [known.get(name) for name in names], sorted(known.keys() - set(names))
