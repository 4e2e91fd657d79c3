"""YOLO's segmentation labels: a text file for each picture, a line for each object."""

from __future__ import annotations

from collections.abc import Sequence

from rlemasklib import RLEMask

from deepmask.runtime.io.polygons import join, outline


def yolo_labels(masks: Sequence[RLEMask], size: tuple[int, int]) -> bytes:
    """Return a line for each mask: class 0, then x and y of each corner as shares of the picture.

    size  (height, width) of the picture, upright.
    A line has one polygon: the parts of an object, and its holes, are joined to one by lines of no
    width.
    """
    height, width = size
    lines = [
        " ".join(["0", *(f"{value:.6f}" for value in (join(rings) / (width, height)).ravel())])
        for rings in map(outline, masks)
        if rings
    ]
    return "".join(f"{line}\n" for line in lines).encode()
