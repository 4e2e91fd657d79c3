"""The model that finds squares on gray, and calls them dark or bright.

A stage for boxes reads the mean tone in a box, -1 … 1: its sign decides the name. Each category has
a better box of its own: a dark square's is `SHIFT` of its width to the right, a bright one's is
twice as wide.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepmask.runtime.model.folder import read_manifest, with_checksums, write_manifest
from deepmask.runtime.model.manifest import Category, Stage, TensorSpec
from tests.runtime.square_model import (
    FILL,
    TENSORS,
    Constants,
    stage_of,
    write_square_model,
)

CATEGORIES = (Category(3, "dark"), Category(7, "bright"))
#: Cells of the map that boxes are read from, in pixels, and how steep class logits are.
CELL, STEEP = 4, 10.0
SHIFT, WIDER = 0.25, 2.0
NAMED = {
    **TENSORS,
    "tone": TensorSpec("map", "float32", (1, 1, f"height/{CELL}", f"width/{CELL}")),
    "boxes": TensorSpec("boxes", "float32", ("n", 4)),
    "class": TensorSpec("class", "float32", ("n", 3)),
    "delta": TensorSpec("delta", "float32", ("n", 2, 4)),
}


def write_named_model(folder: Path, *, refined: bool = False, delta: bool = True) -> Path:
    """Write the model folder; without `delta` it has names alone."""
    write_square_model(folder, refined=refined)
    manifest = read_manifest(folder)
    more = (
        stage_of(folder, "tone", *tone(), NAMED),
        stage_of(folder, "names", *names_of_boxes(delta), NAMED),
    )

    def named(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        return (more[0], *stages, more[1])

    coarse = manifest.coarse
    manifest = replace(
        manifest,
        name="named squares",
        stages=named(manifest.stages),
        coarse=None if coarse is None else replace(coarse, stages=named(coarse.stages)),
        categories=CATEGORIES,
        label_score=0.5,
    )
    write_manifest(with_checksums(manifest, folder), folder)
    return folder


def tone() -> tuple[str, str, Constants]:
    nodes = f"""
        gray = ReduceMean<keepdims=1>(image, axes)
        difference = Sub(gray, fill)
        signed = Div(difference, fill)
        tone = AveragePool<kernel_shape=[{CELL}, {CELL}], strides=[{CELL}, {CELL}]>(signed)"""
    return "image > tone", nodes, {"axes": np.array([1]), "fill": np.array(FILL, np.float32)}


def names_of_boxes(delta: bool) -> tuple[str, str, Constants]:
    nodes = f"""
        count = Shape<start=0, end=1>(boxes)
        first = Expand(zero, count)
        pooled = RoiAlign<coordinate_transformation_mode="half_pixel", output_height=1,
            output_width=1, sampling_ratio=4, spatial_scale={1 / CELL}>(tone, boxes, first)
        mean = Reshape(pooled, column)
        class = MatMul(mean, weights)"""
    nodes = nodes.replace("output_height=1,\n            output", "output_height=1, output")
    if delta:
        nodes += """
            shape = Concat<axis=0>(count, rest)
            delta = Expand(better, shape)"""
    better = np.zeros((1, 2, 4), np.float32)
    better[0, 0, 0], better[0, 1, 2] = 10 * SHIFT, 5 * np.log(WIDER)
    constants: Constants = {
        "zero": np.array([0]),
        "column": np.array([-1, 1]),
        "weights": np.array([[0, -STEEP, STEEP]], np.float32),
        "rest": np.array([2, 4]),
        "better": better,
    }
    return f"tone boxes > class{' delta' if delta else ''}", nodes, constants
