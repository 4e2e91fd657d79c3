"""Match the detections of one image to its objects, category by category, and keep what AP needs.

Pycocotools does the matching that COCO's AP is computed from. PASCAL VOC's is our own: at IoU 0.5
each detection goes to the object that it overlaps most, and a second one of the same object is
wrong (Everingham et al., IJCV 2010, §4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask
from pycocotools.cocoeval import COCOeval

from deepmask.coco.annotations import Annotation
from deepmask.coco.segmentation import encode
from deepmask.evaluate.detections import Detections
from deepmask.evaluate.matching import AREA_RANGES, IOU_THRESHOLDS

#: What becomes of a name: no labelled object is there, it is called something else, or it is right.
NOTHING, WRONG, RIGHT = 0, 1, 2
#: Most detections of a category in an image, as in pycocotools' Params.
MOST = 100
VOC_IOU = 0.5


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """The d best detections of one category in an image, best first, and what they found.

    hits     by area range a number for each detection: bit t is set where it found an object at
             `IOU_THRESHOLDS[t]`.
    spared   alike: it counts neither as right nor as wrong.
    objects  by area range, how many there are to be found.
    voc      for each detection 1: right, 0: wrong, -1: spared; `voc_objects` to be found.
    """

    category: int
    scores: tuple[float, ...]
    hits: tuple[tuple[int, ...], ...]
    spared: tuple[tuple[int, ...], ...]
    objects: tuple[int, ...]
    voc: tuple[int, ...]
    voc_objects: int


def match_classes(
    detections: Detections, annotations: Sequence[Annotation], kind: str
) -> list[ClassMatches]:
    """Return the matches of each category that an image has objects or detections of.

    annotations  objects and crowds; for kind "segm" crowds without an outline are left out.
    """
    given = [one for one in annotations if kind == "bbox" or one.segmentation is not None]
    categories = {one.category for one in given} | set(detections.categories.tolist())
    return [
        _match_category(
            category,
            [_truth(one, number, kind) for number, one in enumerate(given, 1)
             if one.category == category],
            [_found(detections, index, kind)
             for index in np.flatnonzero(detections.categories == category).tolist()],
            kind,
        )
        for category in sorted(categories)
    ]  # fmt: skip


def _match_category(
    category: int, truths: list[dict[str, Any]], found: list[dict[str, Any]], kind: str
) -> ClassMatches:
    judge = COCOeval(iouType=kind)
    judge.params.catIds, judge.params.imgIds = [category], [1]
    judge._gts[1, category], judge._dts[1, category] = truths, found
    judge.ious = {(1, category): judge.computeIoU(1, category)}
    ranges = [judge.evaluateImg(1, category, list(area), MOST) for area in AREA_RANGES.values()]
    best = sorted(found, key=lambda one: -float(one["score"]))[:MOST]
    right, count = _match_voc(best, truths, kind)
    return ClassMatches(
        category,
        tuple(float(one["score"]) for one in best),
        tuple(_bits(one["dtMatches"] > 0) for one in ranges),
        tuple(_bits(one["dtIgnore"] > 0) for one in ranges),
        tuple(int((one["gtIgnore"] == 0).sum()) for one in ranges),
        right,
        count,
    )


def _bits(flags: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """(thresholds, d) → a number for each detection."""
    numbers = flags.astype(np.int64).T @ (1 << np.arange(len(IOU_THRESHOLDS)))
    return tuple(numbers.tolist())


def _match_voc(
    best: list[dict[str, Any]], truths: list[dict[str, Any]], kind: str
) -> tuple[tuple[int, ...], int]:
    """Return what each detection is at IoU `VOC_IOU`, best first, and the objects to be found."""
    count = sum(not one["iscrowd"] for one in truths)
    if not best or not truths:
        return (0,) * len(best), count
    key = "segmentation" if kind == "segm" else "bbox"
    plain = np.zeros(len(truths), np.uint8)
    ious = coco_mask.iou([one[key] for one in best], [one[key] for one in truths], plain)
    taken: set[int] = set()
    told = []
    for row in np.asarray(ious, np.float64).reshape(len(best), len(truths)):
        nearest = int(row.argmax())
        if row[nearest] < VOC_IOU or nearest in taken:
            told.append(0)
        elif truths[nearest]["iscrowd"]:
            told.append(-1)
        else:
            taken.add(nearest)
            told.append(1)
    return tuple(told), count


def _truth(item: Annotation, number: int, kind: str) -> dict[str, Any]:
    """Return an object as COCOeval takes it; numbers are not 0, which it takes for no match."""
    outline = None
    if kind == "segm":
        outline = encode(item.segmentation, item.image.height, item.image.width)
    return {
        "id": number,
        "iscrowd": int(item.crowd),
        "ignore": int(item.crowd),
        "area": item.area,
        "bbox": list(item.box),
        "segmentation": outline,
    }


def _found(detections: Detections, index: int, kind: str) -> dict[str, Any]:
    mask = detections.rles[index] if kind == "segm" and detections.rles is not None else None
    box = detections.boxes[index].tolist()
    area = box[2] * box[3] if mask is None else float(coco_mask.area(mask))
    score = float(detections.scores[index])
    return {"id": index + 1, "score": score, "bbox": box, "area": area, "segmentation": mask}


def judge_names(
    names: Detections, annotations: Sequence[Annotation], kind: str
) -> list[tuple[float, int]]:
    """Return (probability, outcome) of each name that a person sees on an image.

    It is right if an object of its category, or a crowd of them, overlaps it by an IoU of
    `VOC_IOU`; of a crowd, by that share of its own.
    """
    given = [one for one in annotations if kind == "bbox" or one.segmentation is not None]
    truths = [_truth(one, number, kind) for number, one in enumerate(given, 1)]
    shown = [_found(names, index, kind) for index in range(len(names.scores))]
    if not shown or not truths:
        return [(float(score), NOTHING) for score in names.scores]
    key = "segmentation" if kind == "segm" else "bbox"
    crowds = np.array([one["iscrowd"] for one in truths], np.uint8)
    ious = coco_mask.iou([one[key] for one in shown], [one[key] for one in truths], crowds)
    categories = np.array([one.category for one in given])
    told = []
    for index, row in enumerate(np.asarray(ious, np.float64).reshape(len(shown), len(truths))):
        there = row >= VOC_IOU
        right = bool((there & (categories == names.categories[index])).any())
        outcome = RIGHT if right else WRONG if there.any() else NOTHING
        told.append((float(names.scores[index]), outcome))
    return told
