"""YOLO's segmentation labels: a text file for each picture, a line for each object; data.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rlemasklib import RLEMask

from deepmask.runtime.io.polygons import join, outline
from deepmask.runtime.io.relative import relative_path

#: Lies beside the labels, and says what their numbers mean.
DATA_NAME = "data.yaml"


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


def yolo_data(folder: Path, pictures: Iterable[Path], names: Sequence[str]) -> bytes:
    """Return the data.yaml that is to lie in `folder`: names of classes, and where pictures are.

    names  by the number that lines of labels begin with.
    YOLO's tools need both sets that it names; all pictures are in both. Without pictures they are
    looked for in `folder`.
    """
    places = sorted({relative_path(path.parent, folder) for path in pictures}) or ["."]
    found = json.dumps(places[0] if len(places) == 1 else places, ensure_ascii=False)
    classes = [json.dumps(name, ensure_ascii=False) for name in names]
    lines = [
        "# YOLO's tools look for labels of images/a.jpg in labels/a.txt, for others beside them.",
        f"train: {found}",
        f"val: {found}",
        "names:",
        *(f"  {number}: {name}" for number, name in enumerate(classes)),
    ]
    return "".join(f"{line}\n" for line in lines).encode()
