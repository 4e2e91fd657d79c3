"""Check what a call of a model is given, and plan its views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.model.manifest import Manifest, Scales
from deepmask.runtime.views.views import View, plan_views

#: Most pixels that the canvases of a picture may have together; a photograph of 1333 pixels a side,
#: zoomed twice, has half of it. A model's description must not decide how much memory is taken.
_MAX_AREA = 128_000_000


@dataclass(frozen=True)
class Call:
    """What is asked of a model, checked and complete; see `DeepMask.__call__`.

    image      (H, W, 3) uint8 RGB.
    proposals  how many at most.
    threshold  probability above which a pixel belongs to a mask.
    overlap    IoU above which duplicates are demoted, or boxes without masks left out.
    least      probability from which there is a name; None where nothing is named.
    """

    image: npt.NDArray[np.uint8]
    proposals: int
    scales: Scales
    threshold: float
    overlap: float
    max_side: int | None
    least: float | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def views(self, manifest: Manifest) -> list[View]:
        """Return the views of the image; raises `EngineError` as `planned_views` does."""
        return planned_views(self.image, self.scales.factors(), manifest, self.max_side)


def least_label_score(
    manifest: Manifest, labels: bool | None, label_score: float | None
) -> float | None:
    """Return the probability from which masks get a name; None where nothing is named."""
    if manifest.label_score is None and (labels or label_score is not None):
        raise ValueError(f"{manifest.name} has no categories: leave labels and label_score out")
    if label_score is not None and not 0 <= label_score <= 1:
        raise ValueError(f"label_score is {label_score}, expected a probability, 0 to 1")
    if labels is False:
        return None
    return manifest.label_score if label_score is None else label_score


def check_call(
    image: npt.NDArray[np.uint8],
    proposals: int,
    threshold: float | None,
    overlap: float,
    max_side: int | None,
) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        shape, kind = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
        raise ValueError(f"image is {kind} {shape}, expected uint8 (H, W, 3), RGB")
    if image.size == 0:
        raise ValueError(f"image has no pixels: {image.shape}")
    if proposals < 1 or (max_side is not None and max_side < 1):
        raise ValueError(f"proposals {proposals} and max_side {max_side} must be at least 1")
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}, expected a probability between 0 and 1")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap}, expected an IoU, 0 to 1")


def planned_views(
    image: npt.NDArray[np.uint8],
    factors: Sequence[float],
    manifest: Manifest,
    max_side: int | None,
) -> list[View]:
    """Return the views of an image; raises `EngineError` where they have too many pixels."""
    height, width = image.shape[:2]
    views = plan_views(height, width, factors, manifest.views, max_side)
    area = sum(view.canvas_height * view.canvas_width for view in views)
    if area > _MAX_AREA:
        raise EngineError(
            f"the scales of this image have {area / 1e6:.0f} megapixels, at most "
            f"{_MAX_AREA / 1e6:g} are searched: fewer or smaller --scales, or a smaller "
            "--max-side"
        )
    return views
