"""A model made by hand that gives boxes only: dark and bright squares on gray, and wide bars.

A score is contrast to gray in the middle of an anchor against its rim, with a sign for each
category; offsets shrink the anchor to its middle. What fills the middle of an anchor scores `BEST`.
With `stages` scores tell no category, and a stage for boxes does, as in Faster R-CNN.
"""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model import manifest as m
from deepmask.runtime.model.folder import with_checksums, write_manifest
from tests.runtime.named_model import CATEGORIES, CELL, NAMED, names_of_boxes, tone
from tests.runtime.square_model import Constants, stage_of

GRAY, BEST, OVERLAP, LEAST = 127, 4.0, 0.5, 0.25
MULTIPLE = 16
#: Pixels that the offsets of bars move them to the right.
SHIFT = 4.0
#: Height and width of the anchors in pixels; of the second level there are two.
ANCHORS = {"near": [(32.0, 32.0)], "far": [(64.0, 64.0), (32.0, 128.0)]}
STRIDES = {"near": 8, "far": 16}
#: What an anchor is moved by: its middle has half its sides, and bars are shifted.
SHRINK = 5 * log(0.5)
MOVES = {
    "near": [(0.0, 0.0, SHRINK, SHRINK)],
    "far": [(0.0, 0.0, SHRINK, SHRINK), (10 * SHIFT / 128, 0.0, SHRINK, SHRINK)],
}


def write_boxes_model(folder: Path, *, stages: bool = False, names: bool = True) -> Path:
    """Write the model folder; without `names` it has neither categories nor stages for boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = len(CATEGORIES) if names and not stages else 1
    tensors = {**NAMED, **{name: spec for level in ANCHORS for name, spec in _maps(level, scores)}}
    made = [
        stage_of(folder, "anchors", *_anchors(scores), tensors),
        *([stage_of(folder, "tone", *tone(), NAMED)] if stages else []),
        *([stage_of(folder, "names", *names_of_boxes(True), NAMED)] if stages else []),
    ]
    grids = [
        m.Grid(
            f"{level}{k}",
            f"{level}_score",
            k * scores,
            STRIDES[level],
            anchor if anchor[0] != anchor[1] else int(anchor[0]),
            None,
            0.5,
            f"{level}_move",
            4 * k,
        )
        for level, anchors in ANCHORS.items()
        for k, anchor in enumerate(anchors)
    ]
    manifest = m.Manifest(
        name="boxes",
        precision="fp32",
        views=m.Views(m.Scales(0, 0, 1), 1333, False, 0, float(GRAY), MULTIPLE),
        grids=tuple(grids),
        stages=tuple(made),
        threshold=0.5,
        overlap=OVERLAP,
        scale_prior=0.0,
        categories=CATEGORIES if names else None,
        coarse=None,
        about={},
        label_score=LEAST if names else None,
    )
    write_manifest(with_checksums(manifest, folder), folder)
    return folder


def _maps(level: str, scores: int) -> list[tuple[str, m.TensorSpec]]:
    count, stride = len(ANCHORS[level]), STRIDES[level]
    axes = (f"height/{stride}", f"width/{stride}")
    return [
        (f"{level}_score", m.TensorSpec("score", "float32", (1, count * scores, *axes))),
        (f"{level}_move", m.TensorSpec("delta", "float32", (1, count * 4, *axes))),
    ]


def _anchors(scores: int) -> tuple[str, str, Constants]:
    """Cells of the map that is read are `CELL` pixels; anchors lie around a corner of four."""
    nodes = f"""
        mean = ReduceMean<keepdims=1>(image, channels)
        difference = Sub(mean, gray)
        signed = Div(difference, gray)
        contrast = {"Identity" if scores > 1 else "Abs"}(signed)
        cells = AveragePool<kernel_shape=[{CELL}, {CELL}], strides=[{CELL}, {CELL}]>(contrast)"""
    constants: Constants = {"channels": np.array([1]), "gray": np.array(GRAY, np.float32)}
    for level, anchors in ANCHORS.items():
        step = STRIDES[level] // CELL
        room = int(max(side for anchor in anchors for side in anchor)) // CELL
        signs = (-1.0, 1.0) if scores > 1 else (1.0,)
        kernels = [sign * _kernel(anchor, room) for anchor in anchors for sign in signs]
        pad = (room - step) // 2
        shape = f"strides=[{step}, {step}], pads=[{pad}, {pad}, {pad}, {pad}]"
        nodes += f"""
            {level}_score = Conv<{shape}>(cells, {level}_kernels, {level}_bias)
            {level}_move = Conv<{shape}>(cells, {level}_zeros, {level}_moves)"""
        moves = np.array(MOVES[level], np.float32).ravel()
        constants[f"{level}_kernels"] = np.stack(kernels)[:, None].astype(np.float32)
        constants[f"{level}_bias"] = np.full(len(kernels), -BEST, np.float32)
        constants[f"{level}_zeros"] = np.zeros((len(moves), 1, room, room), np.float32)
        constants[f"{level}_moves"] = moves
    made = " ".join(f"{level}_{what}" for level in ANCHORS for what in ("score", "move"))
    return f"image > {made}", nodes, constants


def _kernel(anchor: tuple[float, float], room: int) -> npt.NDArray[np.float64]:
    """Return the weights of an anchor's cells: the middle adds 2 `BEST`, the rim takes them away.

    With the bias, what is all of one tone scores -`BEST`.
    """
    height, width = (int(side) // CELL for side in anchor)
    own = np.full((height, width), -1 / 3)
    own[height // 4 : -(height // 4), width // 4 : -(width // 4)] = 1
    high, wide = (room - height) // 2, (room - width) // 2
    return np.pad(own * 2 * BEST / (height * width / 4), ((high, high), (wide, wide)))
