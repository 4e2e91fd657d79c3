"""Count what the first masks of a picture show a person: new objects, repeats, parts, nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pycocotools.mask as coco_mask

from deepmask.coco.segmentation import Rle

#: How many masks of a picture are looked at.
SHOWN = 20
#: IoU from which a mask is an object, and its share within one from which it is a part.
FOUND, WITHIN = 0.5, 0.7
#: Share within a crowd from which a mask is not counted.
IN_CROWD = 0.5


@dataclass(frozen=True, slots=True)
class Shown:
    """What the first masks are. Add those of several pictures with `+`.

    new      match an object (IoU from `FOUND`) that no mask before it matched.
    repeats  match one that was shown.
    parts    match none, but lie within one.
    neither  all others.
    objects  how many there are to find.
    """

    new: int = 0
    repeats: int = 0
    parts: int = 0
    neither: int = 0
    objects: int = 0

    def __add__(self, other: Shown) -> Shown:
        names = [item.name for item in fields(self)]
        return Shown(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def masks(self) -> int:
        """Masks that were counted."""
        return self.new + self.repeats + self.parts + self.neither


def count_shown(masks: Sequence[Rle], objects: Sequence[Rle], crowds: Sequence[Rle]) -> Shown:
    """Count the first `SHOWN` of a picture's masks, best first; those in crowds are left out.

    A mask is one of the object that it overlaps most.
    """
    first = list(masks[:SHOWN])
    ious, within, crowded = (
        _overlaps(first, others, of_mask)
        for others, of_mask in ((objects, False), (objects, True), (crowds, True))
    )
    seen: set[int] = set()
    counts = dict.fromkeys(("new", "repeats", "parts", "neither"), 0)
    for iou, share, in_crowd in zip(ious, within, crowded, strict=True):
        if in_crowd.max(initial=0) > IN_CROWD:
            continue
        nearest = int(iou.argmax()) if len(iou) else -1
        if nearest >= 0 and iou[nearest] >= FOUND:
            counts["repeats" if nearest in seen else "new"] += 1
            seen.add(nearest)
        else:
            counts["parts" if share.max(initial=0) >= WITHIN else "neither"] += 1
    return Shown(**counts, objects=len(objects))


def _overlaps(
    masks: Sequence[Rle], others: Sequence[Rle], of_mask: bool
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return IoUs (masks, others), or the shares of the masks' own area."""
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    found = coco_mask.iou(list(masks), list(others), [int(of_mask)] * len(others))
    return np.asarray(found, np.float64).reshape(len(masks), len(others))
