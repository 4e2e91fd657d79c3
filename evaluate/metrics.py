"""Compute average recall and related metrics from records, in one pass and constant memory.

Average recall (AR) is the mean over IoU 0.5, 0.55 … 0.95 of the share of objects that the k best
proposals of each image find. AUC is AR averaged over proposal counts from 1 to 1000 that are evenly
spaced in their logarithm (`AUC_COUNTS`). It is the area under the paper's recall curves: the
paper's own AR at 10, 100 and 1000, joined on that axis, gives its AUC (DeepMask §4).

Intervals are bootstrap percentiles over images, by Poisson weights: each of `RESAMPLES` replicas
counts an image w ~ Poisson(1) times. An image's weights depend on the seed and its id alone. So
neither the order of images nor shards matter, and two methods that were measured on the same images
are resampled together, which comparing them in pairs needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.evaluate.matching import AREA_RANGES, IOU_THRESHOLDS
from deepmask.evaluate.records import Record

COUNTS = (10, 100, 1000)
#: 31 proposal counts, ten a decade, rounded; small ones repeat so that the axis stays logarithmic.
AUC_COUNTS: tuple[int, ...] = tuple(round(10 ** (k / 10)) for k in range(31))
#: Recall is also reported at these IoUs.
SINGLE_IOUS = (0.5, 0.7)
RESAMPLES = 1000
SEED = 0
LEVEL = 0.95

_KS = np.array(sorted({*COUNTS, *AUC_COUNTS}))
_COLUMN: Mapping[int, int] = {int(k): column for column, k in enumerate(_KS)}
_AREAS = tuple(AREA_RANGES)
_BLOCK = 64

Floats = npt.NDArray[np.float64]


class Totals:
    """Weighted sums over images, a row for the plain sum and one for each of r bootstrap replicas.

    objects (1 + r, areas): objects seen. hits (1 + r, areas, counts, 10): objects found, by area
    range, number of proposals and IoU threshold.
    """

    def __init__(self, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        self.images = 0
        self._seed = seed
        self._resamples = resamples
        self._length = len(_AREAS) * (1 + len(_KS) * len(IOU_THRESHOLDS))
        self._sums = np.zeros((1 + resamples, self._length))
        self._weights: list[Floats] = []
        self._vectors: list[Floats] = []

    def add(self, image_id: int, ranks: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Count one image, given its ranks by area range."""
        self._weights.append(image_weights(image_id, self._resamples, self._seed))
        self._vectors.append(np.concatenate([_tally(ranks[area]) for area in _AREAS]))
        self.images += 1
        if len(self._vectors) == _BLOCK:
            self._fold()

    def recalls(self) -> tuple[Floats, Floats]:
        """Return objects (1 + r, areas); recall (1 + r, areas, counts, 10), NaN without objects."""
        self._fold()
        table = self._sums.reshape(1 + self._resamples, len(_AREAS), -1)
        objects, hits = table[:, :, 0], table[:, :, 1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = hits / objects[:, :, None]
        return objects, recall.reshape(*hits.shape[:2], len(_KS), len(IOU_THRESHOLDS))

    def _fold(self) -> None:
        if self._vectors:
            self._sums += np.stack(self._weights, axis=1) @ np.stack(self._vectors)
            self._weights, self._vectors = [], []


def image_weights(image_id: int, resamples: int, seed: int) -> Floats:
    """Return how often an image counts: once, then in each bootstrap replica, (1 + resamples,)."""
    generator = np.random.default_rng([seed, image_id % (1 << 64)])
    weights = generator.poisson(1.0, resamples).astype(np.float64)
    return np.concatenate(([1.0], weights))


def total(records: Iterable[Record], kinds: Iterable[str]) -> dict[str, Totals]:
    """Sum up records in one pass: the `Totals` of each kind."""
    totals = {kind: Totals() for kind in kinds}
    for record in records:
        for kind, sums in totals.items():
            sums.add(record.image_id, record.ranks[kind])
    return totals


def measures(totals: Totals) -> dict[str, Floats]:
    """Return every metric by name, (1 + r,): the value, then its bootstrap replicas."""
    _, recall = totals.recalls()
    average = recall.mean(axis=3)
    grid = [_COLUMN[k] for k in AUC_COUNTS]
    found: dict[str, Floats] = {}
    for area, name in enumerate(_AREAS):
        suffix = "" if name == "all" else f"_{name}"
        for k in COUNTS:
            found[f"AR@{k}{suffix}"] = average[:, area, _COLUMN[k]]
        found[f"AUC{suffix}"] = average[:, area, grid].mean(axis=1)
    for iou in SINGLE_IOUS:
        column = int(np.argmin(np.abs(IOU_THRESHOLDS - iou)))
        for k in COUNTS:
            found[f"recall@{k}_iou{iou}"] = recall[:, 0, _COLUMN[k], column]
    return found


def interval(replicas: Floats) -> tuple[float, float]:
    """Return the middle `LEVEL` of bootstrap replicas, (low, high); NaN if there are none."""
    kept = replicas[~np.isnan(replicas)]
    if not kept.size:
        return (float("nan"), float("nan"))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(kept, [tail, 100 - tail])
    return (float(low), float(high))


def summary(totals: Totals) -> dict[str, Any]:
    """Return what `metrics.json` holds of one kind: metrics, intervals, curves for the figures."""
    found = measures(totals)
    objects, recall = totals.recalls()
    average = recall.mean(axis=3)
    curves: dict[str, Any] = {"proposals": _KS.tolist(), "iou": IOU_THRESHOLDS.round(2).tolist()}
    for area, name in enumerate(_AREAS):
        suffix = "" if name == "all" else f"_{name}"
        curves[f"AR{suffix}"] = [number_or_none(v) for v in average[0, area]]
        bands = [interval(average[1:, area, column]) for column in range(len(_KS))]
        curves[f"AR{suffix}_interval"] = [[number_or_none(v) for v in band] for band in bands]
    for k in COUNTS:
        curves[f"recall@{k}"] = [number_or_none(v) for v in recall[0, 0, _COLUMN[k]]]
    return {
        **{name: number_or_none(values[0]) for name, values in found.items()},
        "intervals": {
            name: [number_or_none(v) for v in interval(values[1:])]
            for name, values in found.items()
        },
        "objects": {name: int(objects[0, area]) for area, name in enumerate(_AREAS)},
        "curves": curves,
    }


def _tally(ranks: npt.NDArray[np.int64]) -> Floats:
    """Count the objects of one image and area range, then those found, (counts, 10) flattened."""
    found = (ranks[None] > 0) & (ranks[None] <= _KS[:, None, None])
    return np.concatenate(([float(len(ranks))], found.sum(axis=1).ravel().astype(np.float64)))


def number_or_none(value: float) -> float | None:
    """Return None for NaN, which JSON lacks; there were no objects of that size."""
    return None if np.isnan(value) else float(value)
