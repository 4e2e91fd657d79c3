"""What is to be found: the objects of a labelled set as COCOeval sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask.coco.annotations import (
    Annotation,
    Image,
    Kind,
    LabelledSet,
    Problem,
    some_problems,
)
from deepmask.coco.categories import with_categories
from deepmask.coco.errors import LabelError
from deepmask.coco.formats import read_labels
from deepmask.coco.segmentation import Rle, encode
from deepmask.coco.voc import read_voc
from deepmask.coco.yolo import is_yolo
from deepmask.evaluate.errors import EvalError
from deepmask.runtime.errors import counted


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image, in the order in which COCOeval visits them.

    ids (g,) int64, areas (g,) float64, boxes (g, 4) float64 XYWH, rles: g masks, or None. `crowds`
    are masks of crowds, where they have outlines.
    """

    ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    rles: list[Rle] | None
    crowds: Sequence[Rle] = ()


@dataclass(frozen=True)
class GroundTruth:
    """A set to measure on. `kinds` is what can be measured: ("segm", "bbox") or ("bbox",).

    annotations  those that count, by image id; images without an object are absent.
    crowds       of every image.
    categories   names of the categories by id.
    problems     what is wrong with the set; what they leave out is not measured.
    ignored      how many annotations are left out, by reason.
    """

    name: str
    digest: str
    dataset: str
    kinds: tuple[str, ...]
    pictures: Mapping[int, Image]
    annotations: Mapping[int, Sequence[Annotation]]
    crowds: Mapping[int, Sequence[Annotation]] = field(default_factory=dict)
    categories: Mapping[int, str] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    ignored: Mapping[Kind, int] = field(default_factory=dict)

    def objects(self, image_id: int) -> Objects:
        """Return the objects of an image."""
        return objects_of(self.annotations.get(image_id, ()), "segm" in self.kinds)

    def with_crowds(self, image_id: int) -> list[Annotation]:
        """Return the objects and crowds of an image."""
        objects = [one for one in self.annotations.get(image_id, ()) if not one.crowd]
        return [*objects, *self.crowds.get(image_id, ())]

    def note(self) -> str:
        """Return one line that says what is left out, and what is wrong with what is not; or ""."""
        told = [problem for problem in self.problems if problem.effect != "note"]
        if not told:
            return ""
        reasons = ", ".join(f"{count} {kind}" for kind, count in self.ignored.items())
        left = f"left out: {counted(sum(self.ignored.values()), 'annotations')} ({reasons})"
        lost = sum(p.effect == "left out" and p.annotation is None for p in told)
        what = left if reasons else f"left out: {counted(lost, 'images')}" if lost else "mended"
        return f"note: {self.name}: {what}: {some_problems(told)}"


def coco_truth(
    path: Path, images: Path | None = None, as_stored: bool | None = None, categories: str = ""
) -> GroundTruth:
    """Read labels of any format that `read_labels` knows; raises `EvalError` for what is none.

    images      the folder of the pictures, for a format that has no sizes; paths are relative to
                it. A picture that is missing otherwise is a failure of its own, when its turn
                comes.
    categories  keep the objects of these only, see `with_categories`.
    """
    folder = images if is_yolo(path) else None

    def read() -> LabelledSet:
        return with_categories([read_labels(path, folder, as_stored)], categories)[0]

    return _read(read, path, folder)


def voc_truth(folder: Path) -> GroundTruth:
    """Read the test set of a VOC folder, which has boxes only; raises `EvalError`."""
    return _read(partial(read_voc, folder), folder, None, "voc")


def objects_of(annotations: Sequence[Annotation], with_masks: bool) -> Objects:
    """Return the objects of one image; masks only where all have an outline."""
    # COCOeval with useCats=0 goes through the categories in order; between equal IoUs the later
    # object wins, so the order is part of the result.
    kept = sorted((item for item in annotations if not item.crowd), key=lambda a: a.category)
    return Objects(
        ids=np.array([item.id for item in kept], np.int64),
        areas=np.array([item.area for item in kept], np.float64),
        boxes=np.array([item.box for item in kept], np.float64).reshape(-1, 4),
        rles=[encode(item.segmentation, item.image.height, item.image.width) for item in kept]
        if with_masks
        else None,
        crowds=[
            encode(item.segmentation, item.image.height, item.image.width)
            for item in annotations
            if item.crowd and item.segmentation is not None
        ],
    )


def _read(
    read: Callable[[], LabelledSet], path: Path, folder: Path | None, dataset: str = "coco"
) -> GroundTruth:
    try:
        found = read()
    except LabelError as error:
        raise EvalError(str(error)) from error
    annotations: dict[int, list[Annotation]] = {}
    for item in found.objects:
        annotations.setdefault(item.image.id, []).append(item)
    crowds: dict[int, list[Annotation]] = {}
    for item in found.instances:
        if item.crowd:
            crowds.setdefault(item.image.id, []).append(item)
        if item.crowd and item.image.id in annotations:
            annotations[item.image.id].append(item)
    if not annotations and (found.ignored or found.instances):
        told = f"{counted(len(found.instances), 'crowds')}, " if found.instances else ""
        why = f": {some_problems(found.problems)}" if found.problems else ""
        left = f"{counted(len(found.ignored), 'annotations')} left out"
        raise EvalError(f"{path}: no object to measure: {told}{left}{why}")
    outlined = all(item.segmentation is not None for item in found.objects)
    pictures = {image.id: _relative(image, folder) for image in found.images}
    return GroundTruth(
        found.name,
        found.digest,
        dataset,
        ("segm", "bbox") if outlined and dataset == "coco" else ("bbox",),
        pictures,
        annotations,
        crowds,
        {**{one.category: str(one.category) for one in found.objects}, **found.categories},
        found.problems,
        Counter(item.reason for item in found.ignored),
    )


def _relative(image: Image, folder: Path | None) -> Image:
    return image if folder is None else replace(image, path=image.path.relative_to(folder))
