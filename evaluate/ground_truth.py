"""What is to be found: the objects of a labelled set as COCOeval sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask.coco.annotations import Annotation, Image, Kind, LabelledSet
from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco
from deepmask.coco.segmentation import Rle, to_rle
from deepmask.coco.voc import read_voc
from deepmask.evaluate.errors import EvalError

#: Problems of objects that are measured all the same, as COCOeval does: a box that holds no pixel
#: is one more object that nothing finds, a bad outline costs its image when its turn comes.
_MEASURED: tuple[Kind, ...] = ("empty", "repeated", "outline", "crowd")


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image, in the order in which COCOeval visits them.

    ids (g,) int64, areas (g,) float64, boxes (g, 4) float64 XYWH, rles: g masks, or None.
    """

    ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    rles: list[Rle] | None


@dataclass(frozen=True)
class GroundTruth:
    """A set to measure on. `kinds` is what can be measured: ("segm", "bbox") or ("bbox",).

    annotations  those that count, without crowds, by image id; images without any are absent.
    """

    name: str
    digest: str
    dataset: str
    kinds: tuple[str, ...]
    pictures: Mapping[int, Image]
    annotations: Mapping[int, Sequence[Annotation]]

    def objects(self, image_id: int) -> Objects:
        """Return the objects of an image; raises `EvalError` naming one whose outline is bad."""
        return objects_of(self.annotations.get(image_id, ()), "segm" in self.kinds)


def coco_truth(path: Path) -> GroundTruth:
    """Read an instances file; raises `EvalError` for the first entry that cannot be measured."""
    return _read(read_coco, path, "coco")


def voc_truth(folder: Path) -> GroundTruth:
    """Read the test set of a VOC folder, which has boxes only; raises `EvalError`."""
    return _read(read_voc, folder, "voc")


def objects_of(annotations: Sequence[Annotation], with_masks: bool) -> Objects:
    """Return the objects of one image; raises `EvalError` naming one whose outline is bad."""
    # COCOeval with useCats=0 goes through the categories in order; between equal IoUs the later
    # object wins, so the order is part of the result.
    kept = sorted((item for item in annotations if not item.crowd), key=lambda a: a.category)
    return Objects(
        ids=np.array([item.id for item in kept], np.int64),
        areas=np.array([item.area for item in kept], np.float64),
        boxes=np.array([item.box for item in kept], np.float64).reshape(-1, 4),
        rles=[_mask(item) for item in kept] if with_masks else None,
    )


def _mask(item: Annotation) -> Rle:
    try:
        return to_rle(item.segmentation, item.image.height, item.image.width)
    except ValueError as error:
        where = f"image {item.image.id}: annotation {item.id}"
        raise EvalError(f"{where}: its segmentation {error}") from None


def _read(reader: Callable[[Path], LabelledSet], path: Path, dataset: str) -> GroundTruth:
    try:
        found = reader(path)
    except LabelError as error:
        raise EvalError(str(error)) from error
    for problem in found.problems:
        if problem.kind not in _MEASURED:
            raise EvalError(f"{path}: {problem}")
    annotations: dict[int, list[Annotation]] = {}
    for item in found.annotations:
        if not item.crowd:
            annotations.setdefault(item.image.id, []).append(item)
    outlined = all(item.segmentation for items in annotations.values() for item in items)
    kinds = ("segm", "bbox") if outlined and dataset == "coco" else ("bbox",)
    pictures = {image.id: image for image in found.images}
    return GroundTruth(found.name, found.digest, dataset, kinds, pictures, annotations)
