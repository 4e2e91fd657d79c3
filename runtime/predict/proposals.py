"""Hold what a model found in one picture: ranked scores, and masks or boxes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index as index_of
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.io.overlay import draw_boxes, draw_masks
from deepmask.runtime.io.polygons import Shape, area
from deepmask.runtime.predict.classes import Classes
from deepmask.runtime.predict.nms import NMS, ious
from deepmask.runtime.predict.objects import TOP, choose_boxes, choose_objects, flatten


class SomeResults(TypedDict, total=False):
    """What not every result has.

    segmentation    the mask, of a model that gives masks.
    category_score  the probability of the most likely category, of a model that has categories.
    """

    segmentation: rle.Rle
    category_score: float


class CocoResult(SomeResults):
    """One line of COCO's results format."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float


@dataclass(frozen=True, eq=False)
class Proposals:
    """N object proposals of one picture, best first.

    scores      (N,) float32, 0…1, descending.
    found_masks N masks at the picture's full resolution, as run lengths: `encoded`. None of a model
                that gives boxes only.
    image_size  (height, width) of the picture in pixels.
    seconds     time spent in each stage that made them.
    classes     what the model calls them; None for a class-agnostic model.
    found_boxes (N, 4) XYWH in pixels, if there are no masks; none is empty.

    No N×H×W array is ever made: `masks(i)` draws one, everything else goes through run lengths.
    """

    scores: npt.NDArray[np.float32]
    found_masks: Sequence[RLEMask] | None = field(repr=False)  # screenfuls
    image_size: tuple[int, int]
    seconds: Mapping[str, float] = field(default_factory=dict)
    classes: Classes | None = field(default=None, repr=False)
    found_boxes: npt.NDArray[np.float64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def has_masks(self) -> bool:
        """Whether there are masks; else there are boxes only."""
        return self.found_masks is not None

    @property
    def encoded(self) -> Sequence[RLEMask]:
        """The masks as run lengths; raises ValueError where there are boxes only."""
        if self.found_masks is None:
            raise ValueError("the model gives boxes only: there are no masks")
        return self.found_masks

    @property
    def shapes(self) -> Sequence[Shape]:
        """The N masks, or where there are none the N boxes, (4,) XYWH each."""
        return list(self.boxes) if self.found_masks is None else self.found_masks

    @cached_property
    def boxes(self) -> npt.NDArray[np.float64]:
        """(N, 4) XYWH in pixels: tight boxes of the masks, zeros for an empty one."""
        return rle.boxes_xywh(self.encoded) if self.found_boxes is None else self.found_boxes

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) pixels in each mask, or in each box where there are no masks."""
        return np.array([area(shape) for shape in self.shapes], np.int64)

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """(N,) indices into `classes.categories`, -1 where the model is not sure; see `Classes`."""
        return None if self.classes is None else self.classes.labels

    @property
    def label_scores(self) -> npt.NDArray[np.float32] | None:
        """(N,) probability of each mask's most probable category."""
        return None if self.classes is None else self.classes.label_scores

    @property
    def names(self) -> list[str] | None:
        """N names, "object" where the model is not sure; None for a class-agnostic model."""
        return None if self.classes is None else self.classes.names

    def masks(self, index: int) -> npt.NDArray[np.bool_]:
        """Draw mask `index` as (height, width) bool; it may be empty.

        Raises ValueError where there are boxes only, as `rles` does.
        """
        return rle.to_array(self.encoded[range(len(self))[index]])

    def rles(self) -> list[rle.Rle]:
        """Return all N masks as COCO's compressed RLE, empty ones too."""
        return [rle.to_coco(mask) for mask in self.encoded]

    def to_coco(self, image_id: int) -> list[CocoResult]:
        """Return COCO's results for this picture, best first; empty masks are left out.

        The category of a class-agnostic model is 1. Else it is one of `listed(categories)`, and
        `category_score` is the probability of the most probable one.
        """
        classes, boxes = self.classes, self.boxes.tolist()
        ids = [1] * len(self) if classes is None else classes.ids
        return [
            {
                "image_id": index_of(image_id),
                "category_id": ids[index],
                **self._mask(index),
                "bbox": boxes[index],
                "score": _short(self.scores[index]),
                **_likely(classes, index),
            }
            for index in np.flatnonzero(self.areas).tolist()
        ]

    def _mask(self, index: int) -> SomeResults:
        return {"segmentation": rle.to_coco(self.encoded[index])} if self.has_masks else {}

    def objects(
        self,
        top: int = TOP,
        *,
        min_score: float | None = None,
        nms: float = NMS,
        parts: bool = False,
        flat: bool = False,
    ) -> Proposals:
        """Return the distinct objects among the proposals, best first: object i has number i + 1.

        top        most objects.
        min_score  least score of an object. By default 0.3 of the best one, and objects are
                   looked for only among the first proposals (see `choose_objects`).
        nms        IoU with a better object above which a proposal is left out, 0…1.
        parts      keep also what is mostly inside of better objects: parts of a whole, and groups.
        flat       let no two objects share a pixel: the smaller one has it.
        Of boxes, only those of one category suppress each other, and `parts` are always kept; they
        cannot be `flat`: ValueError.
        """
        limits = {"min_score": min_score, "nms": nms}
        if top < 1 or any(value is not None and not 0 <= value <= 1 for value in limits.values()):
            raise ValueError(f"top is {top}, expected 1 or more; {limits}, expected 0 to 1")
        if self.has_masks:
            chosen = choose_objects(
                self.encoded, self.scores, top=top, min_score=min_score, nms=nms, parts=parts
            )
        else:
            labels = np.zeros(len(self), np.int64) if self.labels is None else self.labels
            chosen = choose_boxes(
                self.boxes, self.scores, labels, top=top, min_score=min_score, nms=nms
            )
        found = self._only(chosen)
        if not flat:
            return found
        flattened = replace(found, found_masks=flatten(found.encoded))
        return flattened._only(np.flatnonzero(flattened.areas).tolist())

    def draw(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Draw all on a copy of their picture, numbered from 1, with names: draw `objects()`.

        image  the (H, W, 3) uint8 RGB the proposals were made from.
        """
        if self.has_masks:
            return draw_masks(image, self.encoded, self.captions)
        return draw_boxes(image, self.boxes, self.captions)

    def ious(self, others: Proposals) -> npt.NDArray[np.float64]:
        """Return the IoU with each of M other proposals of the picture, (N, M): of masks, or boxes.

        Empty masks have an IoU of 0 with all.
        """
        if self.has_masks:
            return rle.ious(self.encoded, others.encoded)
        return ious(self.boxes, others.boxes)

    def labelled(self, labels: Collection[int]) -> Proposals:
        """Return the proposals that have one of these labels, indices into the categories."""
        own = () if self.labels is None else self.labels.tolist()
        return self._only([index for index, label in enumerate(own) if label in labels])

    @property
    def captions(self) -> list[str]:
        """What to write beside each mask: its name, or ""; none of a class-agnostic model."""
        own = () if self.labels is None else self.labels.tolist()
        return [
            "" if label < 0 else name for label, name in zip(own, self.names or (), strict=True)
        ]

    def _only(self, chosen: list[int]) -> Proposals:
        return replace(
            self,
            scores=self.scores[chosen],
            found_masks=[self.encoded[index] for index in chosen] if self.has_masks else None,
            found_boxes=None if self.found_boxes is None else self.found_boxes[chosen],
            classes=None if self.classes is None else self.classes.only(chosen),
        )


def _likely(classes: Classes | None, index: int) -> SomeResults:
    return {} if classes is None else {"category_score": _short(classes.label_scores[index])}


def _short(score: np.float32) -> float:
    """Return the shortest decimal that tells one float32 from the next."""
    return float(f"{score:.9g}")
