"""YOLO's segmentation labels: a text file for each picture, a line for each object."""

from __future__ import annotations

from collections.abc import Sequence

from rlemasklib import RLEMask

from deepmask.runtime.io.polygons import join, outline


def yolo_labels(
    masks: Sequence[RLEMask], size: tuple[int, int], numbers: Sequence[int] = ()
) -> bytes:
    """Return a line for each mask: its class, then x and y of each corner as shares of the picture.

    size     (height, width) of the picture, upright.
    numbers  the class of each mask; by default all are of class 0.
    A line has one polygon: the parts of an object, and its holes, are joined to one by lines of no
    width.
    """
    height, width = size
    lines = [
        " ".join([str(number), *(f"{x:.6f}" for x in (join(rings) / (width, height)).ravel())])
        for rings, number in zip(map(outline, masks), numbers or [0] * len(masks), strict=True)
        if rings
    ]
    return "".join(f"{line}\n" for line in lines).encode()
