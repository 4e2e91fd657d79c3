"""Formats of other tools that results are written in, by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask.runtime.io.cutout import cut_out
from deepmask.runtime.io.label_map import label_map
from deepmask.runtime.io.labelme import labelme_json
from deepmask.runtime.io.polygons import Shape, masks_of
from deepmask.runtime.io.written import Written
from deepmask.runtime.io.yolo import yolo_labels

#: Formats, COCO's JSON apart, and the folder that each is written to; None: that of each picture.
FOLDERS = {"labelme": None, "yolo-seg": "labels", "png": "masks", "cutout": "cutouts"}
#: Those that need masks: boxes have no place there.
MASKS_ONLY = ("yolo-seg", "png", "cutout")
_SUFFIXES = {"labelme": ".json", "yolo-seg": ".txt", "png": ".png"}


def format_files(kind: str, picture: Path, folder: Path | None, name: str, top: int) -> list[Path]:
    """Return the files that one picture may get; there is one, or one for each of `top` objects.

    folder  where they go; None stands for the format's own.
    name    of the picture, without suffix; a path may be part of it.
    """
    own = FOLDERS[kind]
    if folder is None:
        folder, name = (picture.parent, picture.stem) if own is None else (Path(own), name)
    if kind == "cutout":
        return [folder / f"{name}-{number}.png" for number in range(1, top + 1)]
    return [folder / f"{name}{_SUFFIXES[kind]}"]


def remove_rest(files: Sequence[Path], count: int, written: Written) -> None:
    """Remove cut-outs of one picture beyond the first `count`, which an earlier run left.

    files    what `format_files` returned; an earlier run may have had more.
    written  tells which are as they were written; others stay.
    """
    stem = files[0].name.removesuffix("-1.png")
    for number in itertools.count(count + 1):
        path = files[0].with_name(f"{stem}-{number}.png")
        if path.is_file():
            with suppress(OSError):
                if written.has(path):
                    path.unlink()
        elif number > len(files):
            return


def format_contents(
    kind: str,
    files: Sequence[Path],
    picture: Path,
    image: npt.NDArray[np.uint8],
    objects: Sequence[Shape],
    scores: npt.NDArray[np.float32],
    names: Sequence[str] = (),
    numbers: Sequence[int] = (),
) -> Iterator[tuple[Path, bytes]]:
    """Yield the files of a picture with their content.

    files   what `format_files` returned; cut-outs take as many as there are objects.
    image   (H, W, 3) uint8 RGB, the picture upright.
    objects, scores  of N, best first; none is empty.
    names, numbers  of their categories, counted from 0; none if the model has no categories.
    Raises ValueError for objects without masks in a format of `MASKS_ONLY`.
    """
    size = (image.shape[0], image.shape[1])
    if kind == "cutout":
        for file, mask in zip(files, masks_of(objects), strict=False):
            yield file, cut_out(image, mask)
    elif kind == "labelme":
        yield files[0], labelme_json(files[0], picture, objects, scores, size, names)
    elif kind == "yolo-seg":
        yield files[0], yolo_labels(masks_of(objects), size, numbers)
    else:
        yield files[0], label_map(masks_of(objects), size)
