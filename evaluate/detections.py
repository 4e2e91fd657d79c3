"""Detections of an image: boxes and masks with a category and a score, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deepmask.coco.categories import VOC
from deepmask.coco.segmentation import Rle

if TYPE_CHECKING:
    from deepmask.runtime.model.manifest import Category

#: As in Fast R-CNN: boxes of a category that overlap a better one by more than this are left out,
#: and an image has so many detections at most. The least score changes AP little: it is a bound on
#: the work.
NMS, MOST, LEAST = 0.5, 100, 0.01
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
        chosen += [(k, column) for k in _suppressed(boxes[:, column].astype(np.float64), order)]
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


def _suppressed(boxes: Floats, order: npt.NDArray[np.int64]) -> list[int]:
    """Return the boxes of `order`, best first, that overlap no better one by more than `NMS`."""
    kept: list[int] = []
    left = order
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[_ious(boxes[best], boxes[left]) <= NMS]
    return kept


def _ious(box: Floats, others: Floats) -> Floats:
    """(4,) and (n, 4) XYWH → (n,); empty boxes overlap nothing."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = box[2:].prod() + others[:, 2:].prod(axis=1) - shared
    found: Floats = shared / np.maximum(union, 1e-9)
    return found
