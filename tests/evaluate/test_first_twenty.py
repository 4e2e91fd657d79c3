"""What the first masks of a picture are."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco_mask

from deepmask.coco.segmentation import Rle
from deepmask.evaluate.first_twenty import SHOWN, Shown, count_shown


def block(x: int, y: int, width: int, height: int) -> Rle:
    """A rectangle in a picture of 100 × 100."""
    mask = np.zeros((100, 100), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    found: Rle = coco_mask.encode(mask)
    return found


OBJECT, OTHER = block(10, 10, 40, 40), block(60, 60, 30, 30)


def test_masks_are_new_repeats_parts_or_neither() -> None:
    masks = [
        OBJECT,
        block(12, 10, 40, 40),  # the same again
        block(15, 15, 10, 10),  # inside it
        block(80, 5, 10, 10),  # nothing labelled
        block(61, 61, 29, 29),
    ]
    assert count_shown(masks, [OBJECT, OTHER], []) == Shown(2, 1, 1, 1, 2)


def test_a_large_mask_around_an_object_is_no_part() -> None:
    assert count_shown([block(0, 0, 100, 100)], [OBJECT], []) == Shown(neither=1, objects=1)


def test_masks_in_crowds_do_not_count() -> None:
    assert count_shown([OTHER, OBJECT], [OBJECT], [block(50, 50, 50, 50)]) == Shown(1, objects=1)


def test_only_the_first_count() -> None:
    masks = [block(80, 5, 10, 10)] * SHOWN + [OBJECT]
    assert count_shown(masks, [OBJECT], []) == Shown(neither=SHOWN, objects=1)


def test_pictures_add_up() -> None:
    one = count_shown([OBJECT], [OBJECT], [])
    two = count_shown([], [OTHER], [])
    assert one + two == Shown(new=1, objects=2)
    assert (one + two).masks == 1
