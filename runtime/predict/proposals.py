"""Hold what a model found in one picture: ranked scores and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index as index_of
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.io.overlay import draw_masks
from deepmask.runtime.predict.objects import NMS, TOP, choose_objects, flatten


class CocoResult(TypedDict):
    """One line of COCO's results format."""

    image_id: int
    category_id: int
    segmentation: rle.Rle
    bbox: list[float]
    score: float


@dataclass(frozen=True, eq=False)
class Proposals:
    """N object proposals of one picture, best first.

    scores      (N,) float32, 0…1, descending.
    encoded     N masks at the picture's full resolution, as run lengths.
    image_size  (height, width) of the picture in pixels.
    seconds     time spent in each stage that made them.
    labels      (N,) int64 indices into the model's categories; None for a class-agnostic model.

    No N×H×W array is ever made: `masks(i)` draws one, everything else goes through run lengths.
    """

    scores: npt.NDArray[np.float32]
    encoded: Sequence[RLEMask] = field(repr=False)  # screenfuls
    image_size: tuple[int, int]
    seconds: Mapping[str, float] = field(default_factory=dict)
    labels: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def boxes(self) -> npt.NDArray[np.float64]:
        """(N, 4) XYWH in pixels: tight boxes of the masks, zeros for an empty one."""
        return rle.boxes_xywh(self.encoded)

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) pixels in each mask."""
        return rle.areas(self.encoded)

    def masks(self, index: int) -> npt.NDArray[np.bool_]:
        """Draw mask `index` as (height, width) bool; it may be empty."""
        return rle.to_array(self.encoded[range(len(self))[index]])

    def rles(self) -> list[rle.Rle]:
        """Return all N masks as COCO's compressed RLE, empty ones too."""
        return [rle.to_coco(mask) for mask in self.encoded]

    def to_coco(self, image_id: int) -> list[CocoResult]:
        """Return COCO's results for this picture, best first; empty masks are left out.

        The category of a class-agnostic model is 1, else the label's index plus 1.
        """
        categories = np.ones(len(self), np.int64) if self.labels is None else self.labels + 1
        boxes = self.boxes.tolist()
        return [
            {
                "image_id": index_of(image_id),
                "category_id": int(categories[index]),
                "segmentation": rle.to_coco(self.encoded[index]),
                "bbox": boxes[index],
                "score": float(f"{self.scores[index]:.9g}"),  # tells one float32 from the next
            }
            for index in np.flatnonzero(self.areas).tolist()
        ]

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
        min_score  least score of an object. By default a quarter of the best one, and objects are
                   looked for only among the first proposals (see `choose_objects`).
        nms        IoU with a better object above which a proposal is left out, 0…1.
        parts      keep also what is mostly inside of better objects: parts of a whole, and groups.
        flat       let no two objects share a pixel: the smaller one has it.
        """
        limits = {"min_score": min_score, "nms": nms}
        if top < 1 or any(value is not None and not 0 <= value <= 1 for value in limits.values()):
            raise ValueError(f"top is {top}, expected 1 or more; {limits}, expected 0 to 1")
        chosen = choose_objects(
            self.encoded, self.scores, top=top, min_score=min_score, nms=nms, parts=parts
        )
        found = self._only(chosen)
        if not flat:
            return found
        flattened = replace(found, encoded=flatten(found.encoded))
        return flattened._only(np.flatnonzero(flattened.areas).tolist())

    def draw(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Draw all masks on a copy of their picture, numbered from 1: draw `objects()`.

        image  the (H, W, 3) uint8 RGB the proposals were made from.
        """
        return draw_masks(image, self.encoded)

    def _only(self, chosen: list[int]) -> Proposals:
        return replace(
            self,
            scores=self.scores[chosen],
            encoded=[self.encoded[index] for index in chosen],
            labels=None if self.labels is None else self.labels[chosen],
        )
