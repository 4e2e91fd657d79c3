"""Boxes of training pictures that were proposed before, from a file of COCO results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask.coco.annotations import LabelledSet
from deepmask.evaluate.proposals_json import ResultsFile
from deepmask.runtime.errors import counted
from deepmask.train.data import Report
from deepmask.train.errors import TrainUsageError


def read_proposals(
    path: Path, sets: Sequence[LabelledSet], warn: Report
) -> Callable[[int], npt.NDArray[np.float64]]:
    """Return the function from a picture's id to its boxes, (n, 4) x, y, width, height, best first.

    path  results of the pictures of the sets, of any tool, as `deepmask-trt-run` writes them.
    `warn` is told of pictures without any. Raises `EvalError` for what are no results, or of other
    pictures, `TrainUsageError` where an id does not tell which picture is meant.
    """
    pictures = {image.id: image for found in sets for image in found.images}
    for found in sets:
        for image in found.images:
            if image.path != pictures[image.id].path:
                raise TrainUsageError(
                    f"--proposals {path}: image {image.id} is {image.path.name} in one set and "
                    f"{pictures[image.id].path.name} in another: give each picture an id of its own"
                )
    results = ResultsFile(path, pictures)
    bare = len(pictures.keys() - results.images())
    if bare:
        warn(
            f"{path}: {counted(bare, 'pictures')} of {len(pictures)} without a proposal: what is "
            "learned there is the boxes of objects alone"
        )
    return cache(lambda image_id: results.candidates(image_id).boxes)
