"""Average precision from records: COCO's, PASCAL VOC's, and how far names can be trusted.

AP is the area under a category's curve of precision over recall, over all images; the mean over
categories is what tables show. COCO reads the curve at 101 recalls and averages over IoU 0.5, 0.55
… 0.95. VOC 2007 reads it at 11 recalls, later years take the whole area, at IoU 0.5.

Intervals are bootstrap percentiles over images, with the weights of `metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.evaluate.class_matching import RIGHT, WRONG, ClassMatches
from deepmask.evaluate.matching import AREA_RANGES, IOU_THRESHOLDS
from deepmask.evaluate.metrics import SEED, image_weights, interval, number_or_none

#: Replicas of the bootstrap: sorting out detections costs more than counting ranks.
RESAMPLES = 200
_RECALLS = np.linspace(0, 1, 101)
_ELEVEN = np.arange(11) / 10
#: Scores from which names are counted; a precision that users may trust, of so many names at least.
SCORES = tuple(round(0.05 * k, 2) for k in range(1, 20))
TRUSTED, FEWEST = 0.8, 20

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass
class _Category:
    """What images have of one category; entries are in step."""

    images: list[int] = field(default_factory=list)
    matches: list[ClassMatches] = field(default_factory=list)


class ClassTotals:
    """Matches of many images, by category."""

    def __init__(self) -> None:
        self._categories: dict[int, _Category] = {}
        self._images: list[int] = []

    def add(self, image_id: int, matches: Sequence[ClassMatches]) -> None:
        """Add one image."""
        self._images.append(image_id)
        for one in matches:
            of_category = self._categories.setdefault(one.category, _Category())
            of_category.images.append(image_id)
            of_category.matches.append(one)

    def summary(self, names: Mapping[int, str]) -> dict[str, Any]:
        """Return what `metrics.json` holds of one kind: AP by IoU and size, and by category.

        names  of the categories of the labels; those without an object have no AP.
        """
        weights = {one: image_weights(one, RESAMPLES, SEED) for one in self._images}
        by_category = {
            category: _aps(found, weights) for category, found in sorted(self._categories.items())
        }
        counted = {category: one for category, one in by_category.items() if one["objects"]}
        keys = ("AP", "AP50", "AP75", *(f"AP_{size}" for size in list(AREA_RANGES)[1:]))
        keys += ("VOC_AP11", "VOC_AP")
        means = {key: _mean([one[key] for one in counted.values()]) for key in keys}
        return {
            **{key: number_or_none(values[0]) for key, values in means.items()},
            "intervals": {
                key: [number_or_none(bound) for bound in interval(values[1:])]
                for key, values in means.items()
            },
            "resamples": RESAMPLES,
            "categories": [
                {
                    "name": names.get(category, str(category)),
                    "objects": one["objects"],
                    "AP": number_or_none(one["AP"][0]),
                    "AP50": number_or_none(one["AP50"][0]),
                }
                for category, one in sorted(counted.items(), key=lambda pair: -pair[1]["objects"])
            ],
        }


def trust(names: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """Return how many of the names with a probability from each of `SCORES` on are right.

    names  probability and outcome of each, see `judge_names`.
    """
    rows = []
    for least in SCORES:
        told = [outcome for score, outcome in names if score >= least]
        named, right, wrong = len(told), told.count(RIGHT), told.count(WRONG)
        rows.append(
            {
                **{"score": least, "named": named, "right": right, "wrong": wrong},
                "precision": right / named if named else None,
                "of_objects": right / (right + wrong) if right + wrong else None,
            }
        )
    return {"rows": rows, "trusted_from": _trusted_from(rows)}


def _trusted_from(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the lowest score from which on names are right as often as `TRUSTED`; or None."""
    lowest = None
    for row in reversed(rows):
        if row["named"] >= FEWEST and row["precision"] < TRUSTED:
            break
        if row["named"] >= FEWEST:
            lowest = float(row["score"])
    return lowest


def _aps(found: _Category, weights: Mapping[int, Floats]) -> dict[str, Any]:
    """Return a category's AP by name, each (1 + r,), and how many objects it has."""
    order_of_images = np.argsort(found.images, kind="stable").tolist()  # as COCOeval goes
    matches = [found.matches[k] for k in order_of_images]
    weight = np.stack([weights[found.images[k]] for k in order_of_images], axis=1)
    image = np.repeat(np.arange(len(matches)), [len(one.scores) for one in matches])
    scores = np.array([score for one in matches for score in one.scores], np.float64)
    order = np.argsort(-scores, kind="stable")
    of_detections = weight[:, image[order]]

    def flags(name: str, area: int) -> Integers:
        return np.array([bit for one in matches for bit in getattr(one, name)[area]], np.int64)[
            order
        ]

    result: dict[str, Any] = {}
    for area, size in enumerate(AREA_RANGES):
        hits, spared = flags("hits", area), flags("spared", area)
        counts = weight @ np.array([one.objects[area] for one in matches], np.float64)
        by_iou = []
        for t in range(len(IOU_THRESHOLDS)):
            counted = (spared >> t) & 1 == 0
            right = ((hits >> t) & 1 == 1) & counted
            by_iou.append(read_curve(of_detections, right, counted & ~right, counts, _RECALLS))
        result["AP" if size == "all" else f"AP_{size}"] = np.mean(by_iou, axis=0)
        if size == "all":
            result["AP50"], result["AP75"] = by_iou[0], by_iou[5]
            result["objects"] = int(sum(one.objects[0] for one in matches))
    voc = np.array([told for one in matches for told in one.voc], np.int64)[order]
    counts = weight @ np.array([one.voc_objects for one in matches], np.float64)
    curve = (of_detections, voc == 1, voc == 0, counts)
    result["VOC_AP11"], result["VOC_AP"] = read_curve(*curve, _ELEVEN), read_curve(*curve, None)
    return result


def read_curve(
    weights: Floats,
    right: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
    objects: Floats,
    recalls: Floats | None,
) -> Floats:
    """Return AP for each row of weights, (r,); NaN where there is no object.

    weights  (r, d) of the images of d detections, which are sorted by falling score.
    objects  (r,) weighted number of objects.
    recalls  where the curve is read; None: the whole area below it.

    The precision at a recall is the best one at that recall or a higher one.
    """
    # Precision rises, and recall changes, at right detections only.
    true = np.cumsum(weights[:, right], axis=1)
    false = np.cumsum(weights * wrong, axis=1)[:, right]
    precision = true / np.maximum(true + false, np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = true / objects[:, None]
    if recalls is None:
        reached, steps = recall, 1.0
    else:
        reached = np.searchsorted(recalls, recall, side="right").astype(np.float64)
        steps = float(len(recalls))
    found: Floats = (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / steps
    return np.where(objects > 0, found, np.nan)


def _mean(values: Sequence[Floats]) -> Floats:
    """Return the mean over categories, where they have one."""
    if not values:
        return np.full(1 + RESAMPLES, np.nan)
    table = np.stack(values)
    known = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(known, table, 0).sum(axis=0) / known.sum(axis=0)
    return found
