"""Find what is wrong with the pictures and masks themselves: `deepmask-train --check-data`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tqdm import tqdm

from deepmask.coco.annotations import LabelledSet, Problem, full_mask
from deepmask.coco.errors import LabelError
from deepmask.networks.patches.crops import read_picture


def check_pictures(found: LabelledSet) -> Iterator[Problem]:
    """Decode every picture and draw every mask; yield what cannot be, or comes out empty."""
    unreadable: set[int] = set()
    for image in tqdm(found.images, unit="image", disable=not sys.stderr.isatty()):
        try:
            read_picture(image)
        except LabelError as error:
            unreadable.add(image.id)
            yield Problem("file", None, image.id, str(error))
    for instance in found.instances:
        if instance.image.id in unreadable:
            continue
        ids = instance.id, instance.image.id
        try:
            empty = not full_mask(instance).any()
        except (ValueError, TypeError, MemoryError) as error:
            yield Problem("outline", *ids, f"mask cannot be drawn: {error}")
            continue
        if empty:
            yield Problem("outline", *ids, "mask has no pixel")
