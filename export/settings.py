"""Measure on labelled pictures which settings find most objects: what the runtime does by default.

Mask threshold, overlap of near-duplicates and scale prior are chosen one after another, each with
the others as they are by then. What was asked for is kept. Then scores are calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np

from deepmask.coco.formats import read_labels
from deepmask.evaluate.calibration import Table, calibration_table, reliability
from deepmask.evaluate.matching import overlaps
from deepmask.evaluate.proposals_json import to_candidates
from deepmask.export.errors import ExportUsageError
from deepmask.export.options import ExportOptions
from deepmask.runtime.errors import counted
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.predict.calibrate import calibrate
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.progress import Progress, no_progress
from deepmask.train.recall import RecallImage, recall_images, recall_of

#: Most pictures that are measured on: more take longer and change a choice hardly ever.
PICTURES = 40
#: What is tried, in this order. Overlap 1 ranks nothing lower; prior 0 is the network's own order.
TRIED: Mapping[str, tuple[float, ...]] = {
    "scale_prior": (0.0, 0.25, 0.5, 0.75, 1.0),
    "overlap": (0.6, 0.7, 0.75, 0.8, 0.9, 1.0),
    "threshold": (0.2, 0.3, 0.4, 0.5),
}
#: What is to be high: the mean of these.
MEASURES = ("segm_AR@10", "segm_AR@100", "segm_AR@1000")


@dataclass(frozen=True)
class Validation:
    """Labelled pictures to choose settings on, and the name of their annotation file."""

    name: str
    images: Sequence[RecallImage]


def read_validation(annotations: Path, folder: Path) -> Validation:
    """Read up to `PICTURES` pictures, spread over the set; raises `LabelError`."""
    return Validation(annotations.name, recall_images(read_labels(annotations, folder), PICTURES))


def with_measured_settings(
    manifest: Manifest,
    folder: Path,
    validation: Validation,
    options: ExportOptions,
    report: Callable[[str], None],
    progress: Progress = no_progress,
) -> Manifest:
    """Return the manifest of the float32 model in `folder` with the settings that find most.

    Ties go to what the manifest has. Settings that `options` give are not changed.
    """
    chosen = {name: values for name, values in TRIED.items() if getattr(options, name) is None}
    trials = 1 + sum(len(set(values) - {getattr(manifest, n)}) for n, values in chosen.items())
    figures: dict[str, dict[float, float]] = {}
    with DeepMask.load(folder, engine="onnxruntime", device="cpu") as model:
        counter = count(1)

        def recall(candidate: Manifest) -> float:
            progress("settings", next(counter), trials)
            found = recall_of(DeepMask(candidate, model.engine, model.choice), validation.images)
            return fsum(found[name] for name in MEASURES) / len(MEASURES)

        first = highest = recall(manifest)
        for name, values in chosen.items():
            found = {getattr(manifest, name): highest}
            for value in values:
                if value not in found:
                    found[value] = recall(_with(manifest, name, value))
            best = max(found, key=found.__getitem__)  # of equal ones the manifest's, which is first
            manifest, highest = _with(manifest, name, best), found[best]
            figures[name] = found
            report(f"{name.replace('_', ' '):<12} {best:g}, of {_listed(found)}")
        plain = replace(manifest, calibration=None)
        table, means = _calibrated(DeepMask(plain, model.engine, model.choice), validation)
    report(
        f"mean mask AR {highest:.3f} on "
        f"{counted(len(validation.images), 'pictures')}, {first:.3f} before"
    )
    report(f"scores stand for the expected IoU: {', '.join(f'{iou:.2f}' for _, iou in table)}")
    record = {
        "annotations": validation.name,
        "pictures": len(validation.images),
        "measure": f"mean of {', '.join(MEASURES)}",
        "found": {
            name: {f"{v:g}": ar for v, ar in found.items()} for name, found in figures.items()
        },
        "reliability": [[round(s, 3), round(iou, 3), n] for s, iou, n in means],
    }
    about = {**manifest.about, "settings": record}
    return replace(manifest, calibration=table, about=about)


def _calibrated(
    model: DeepMask, validation: Validation
) -> tuple[Table, list[tuple[float, float, int]]]:
    """Return the table that makes scores expected IoUs, and how reliable they are by it."""
    scores, ious = [], []
    for image in validation.images:
        found = model(image.pixels, overlap=1.0)
        candidates = to_candidates(
            list(map(dict, found.to_coco(image.picture.id))), image.picture, with_masks=True
        )
        scores.append(candidates.scores)
        ious.append(overlaps(candidates, image.objects, "segm").max(axis=1, initial=0.0))
    score, iou = np.concatenate(scores), np.concatenate(ious)
    try:
        table = calibration_table(score, iou)
    except ValueError as error:
        raise ExportUsageError(
            f"--validation {validation.name}: {error}: give more pictures"
        ) from error
    return table, reliability(calibrate(score, table), iou)


def _with(manifest: Manifest, name: str, value: float) -> Manifest:
    changed: dict[str, Any] = {name: value}
    return replace(manifest, **changed)


def _listed(found: Mapping[float, float]) -> str:
    return ", ".join(f"{value:g} ({recall:.3f})" for value, recall in sorted(found.items()))
