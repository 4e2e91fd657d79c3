"""What a model found in one image: ranked scores, and masks that are decoded when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.predict.paste import Placement, decode_mask
from deepmask.runtime.predict.run_lengths import mask_runs


class CocoResult(TypedDict):
    """One line of COCO's results format."""

    image_id: int
    category_id: int
    segmentation: rle.Rle
    bbox: list[float]
    score: float


class Proposals:
    """N object proposals of one image, best first.

    scores     (N,) float32, 0 … 1, descending: the sigmoid of the score logits.
    logits     (N, mask_size, mask_size) float32: each window's mask.
    placement  where the windows lie in the image.
    threshold  logit above which a pixel belongs to a mask.
    seconds    time spent in each stage that made them.
    threads    that encode masks together.

    Masks are at the image's full resolution. No N×H×W array is ever made: `masks(i)` decodes one,
    `rles()`, `boxes` and `areas` go through run lengths, computed once, at the first use.
    """

    def __init__(
        self,
        scores: npt.NDArray[np.float32],
        logits: npt.NDArray[np.float32],
        placement: Placement,
        threshold: float,
        seconds: Mapping[str, float],
        threads: int = 1,
    ) -> None:
        """See the class; all arrays have N entries."""
        self.scores = scores
        self.logits = logits
        self.placement = placement
        self.threshold = threshold
        self.seconds = dict(seconds)
        self.threads = threads

    def __len__(self) -> int:
        """N."""
        return len(self.scores)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.placement.height, self.placement.width

    def ranked(self, order: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> Proposals:
        """Those proposals whose indices are in `order`, in that order, with these scores."""
        placement = self.placement.take(order)
        chosen = Proposals(
            scores, self.logits[order], placement, self.threshold, self.seconds, self.threads
        )
        chosen.__dict__["encoded"] = [self.encoded[index] for index in order]
        return chosen

    def masks(self, index: int) -> npt.NDArray[np.bool_]:
        """Mask `index` as (height, width) bool; may be empty."""
        position = range(len(self))[index]
        return decode_mask(self.logits[position], self.threshold, self.placement, position)

    def rles(self) -> list[rle.Rle]:
        """All N masks as COCO's compressed RLE, empty ones too."""
        return [rle.to_coco(mask) for mask in self.encoded]

    @cached_property
    def encoded(self) -> Sequence[RLEMask]:
        """All N masks as run lengths, for set operations on them."""
        height, width = self.image_size
        counts = mask_runs(self.logits, self.threshold, self.placement, self.threads)
        return [rle.from_counts(runs, height, width) for runs in counts]

    @cached_property
    def boxes(self) -> npt.NDArray[np.float64]:
        """(N, 4) XYWH in pixels: tight boxes of the masks, zeros for an empty one."""
        return rle.boxes_xywh(self.encoded)

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) pixels in each mask."""
        return rle.areas(self.encoded)

    def to_coco(self, image_id: int) -> list[CocoResult]:
        """COCO's results for this image, best first, category 1; empty masks are left out."""
        return [
            {
                "image_id": image_id,
                "category_id": 1,
                "segmentation": rle.to_coco(mask),
                "bbox": box,
                "score": float(f"{score:.9g}"),  # the digits that tell one float32 from the next
            }
            for mask, box, score, area in zip(
                self.encoded,
                self.boxes.tolist(),
                self.scores.tolist(),
                self.areas.tolist(),
                strict=True,
            )
            if area
        ]

    def draw(self, image: npt.NDArray[np.uint8], top: int = 20) -> npt.NDArray[np.uint8]:
        """The best proposals that do not hide one another, drawn on a copy of their image.

        `image` is the (H, W, 3) uint8 RGB the proposals were made from, `top` the most to draw.
        """
        from deepmask.runtime.io.overlay import draw_proposals

        return draw_proposals(self, image, top)
