"""Choose the distinct objects among many ranked proposals.

The order of the scores and the overlaps of masks or boxes decide, so that any model's proposals can
be chosen from, whatever its scores mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rlemasklib import RLEMask

from deepmask.runtime.io import rle
from deepmask.runtime.predict.nms import NMS, kept_boxes

#: Most objects.
TOP = 20
#: Proposals looked at for each object that may be chosen, repeats apart, and the share of the
#: picture's best score below which they are no objects. On 150 labelled photographs 40 % of the 7.9
#: chosen in each are labelled objects, 38 % of which are found; with 2 and 0.25 it is 35 % of 9.4,
#: and 40 % are found: one in ten of what that adds is labelled.
_LOOKED_AT, _LEAST_SHARE = 1.25, 0.3
#: A proposal with more of itself in objects chosen before is a part, or a group of them.
_MOST_COVERED = 0.5
#: A mask of more than this share of the picture is a scene: what lies in it is no part of it.
_SCENE = 2 / 3


def choose_objects(
    masks: Sequence[RLEMask],
    scores: npt.NDArray[np.float32],
    *,
    top: int = TOP,
    min_score: float | None = None,
    nms: float = NMS,
    parts: bool = False,
) -> list[int]:
    """Return the indices of up to `top` of N masks that show distinct objects, best first.

    scores     (N,), descending.
    min_score  least score of an object. By default 0.3 of the best one; and of proposals only the
               first 25 are looked at, or 1.25 × `top` if that is more; repeats are not counted.
    nms        IoU with a better object above which a mask is left out (non-maximum suppression).
    parts      keep also what is mostly inside of better objects: parts of a whole, and groups.
    """
    if not masks:
        return []
    areas = rle.areas(masks)
    least = _LEAST_SHARE * scores.max(initial=0) if min_score is None else min_score
    left = math.ceil(_LOOKED_AT * max(top, TOP)) if min_score is None else len(masks)
    chosen: list[int] = []
    covered = RLEMask.zeros(masks[0].shape)
    for index in np.flatnonzero((areas > 0) & (scores >= least)).tolist():
        if len(chosen) == top or left == 0:
            break
        mask, area = masks[index], areas[index]
        shared = rle.overlaps(mask, [masks[other] for other in chosen])
        if (shared > nms * (areas[chosen] + area - shared)).any():
            continue
        left -= 1
        if not parts and (mask & covered).area() > _MOST_COVERED * area:
            continue
        chosen.append(index)
        if area <= _SCENE * mask.shape[0] * mask.shape[1]:
            covered = covered | mask
    return chosen


def choose_boxes(
    boxes: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    *,
    top: int = TOP,
    min_score: float | None = None,
    nms: float = NMS,
) -> list[int]:
    """Return the indices of up to `top` of N boxes, XYWH, that show distinct objects, best first.

    scores, labels  (N,), scores descending; boxes of different labels may lie in one place.
    The rest is as in `choose_objects`; of what lies in a better box nothing is known, so it stays.
    """
    least = _LEAST_SHARE * scores.max(initial=0) if min_score is None else min_score
    sure = np.flatnonzero(scores >= least)
    kept: list[int] = sure[kept_boxes(boxes[sure], labels[sure], nms, top)].tolist()
    return kept


def flatten(masks: Sequence[RLEMask]) -> list[RLEMask]:
    """Return N masks of which no two share a pixel; some may be empty.

    The smaller of two has what they share, as in the picture: it lies on top.
    """
    if not masks:
        return []
    flat = list(masks)
    taken = RLEMask.zeros(masks[0].shape)
    for index in np.argsort(rle.areas(masks), kind="stable").tolist():
        flat[index] = masks[index] - taken
        taken = taken | masks[index]
    return flat
