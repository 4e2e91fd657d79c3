"""A model made by hand with three grids: each finds squares of one size on gray.

The trunk keeps the contrast to gray at three resolutions. A score is contrast in the middle of a
window against its rim; a mask is the contrast in the window, at the resolution that gives 16
samples a side. All sums are exact in float32, so squares of a grid's own size
score `BEST`, to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.folder import with_checksums, write_manifest
from deepmask.runtime.model.manifest import Grid, Manifest, Scales, Stage, TensorSpec, Views
from tests.runtime.square_model import Constants, stage_of

GRAY, BEST, MASK_SIZE = 127, 4.0, 16
#: Two maps of scores: "far" has a channel for each of two grids.
GRIDS = (
    Grid("small", "near", 0, 8, 32, MASK_SIZE, 0.5),
    Grid("large", "far", 0, 16, 64, MASK_SIZE, 0.5),
    Grid("huge", "far", 1, 16, 128, MASK_SIZE, 0.5),
)
#: Sides of canvases are multiples of more than any stride.
MULTIPLE = 64

SAMPLES = tuple(int(grid.sides[0]) // MASK_SIZE for grid in GRIDS)  # pixels of a mask's sample
LEVELS = [f"level{samples}" for samples in SAMPLES]
TENSORS = {
    "image": TensorSpec("image", "float32", (1, 3, "height", "width")),
    **{
        name: TensorSpec("map", "float32", (1, 1, f"height/{size}", f"width/{size}"))
        for name, size in zip(LEVELS, SAMPLES, strict=True)
    },
    "near": TensorSpec("score", "float32", (1, 1, "rows", "cols")),
    "far": TensorSpec("score", "float32", (1, 2, "height/16", "width/16")),
    "locations": TensorSpec("locations", "int64", ("n", 3)),
    "mask": TensorSpec("mask", "float32", ("n", MASK_SIZE, MASK_SIZE)),
}


def write_grids_model(folder: Path) -> Path:
    """Write the model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = (("trunk", trunk()), ("score", score()), ("mask", _mask()))
    stages = [stage_of(folder, name, *graph, TENSORS) for name, graph in graphs]
    return write_model(folder, stages)


def write_model(folder: Path, stages: Sequence[Stage]) -> Path:
    """Write `model.json` for graphs that are there."""
    views = Views(Scales(0, 0, 1), 1333, False, 0, GRAY, MULTIPLE)
    manifest = Manifest(
        name="three grids",
        precision="fp32",
        views=views,
        grids=GRIDS,
        stages=tuple(stages),
        threshold=0.5,
        overlap=1.0,
        scale_prior=0.0,
        categories=None,
        coarse=None,
        about={},
    )
    write_manifest(with_checksums(manifest, folder), folder)
    return folder


def trunk() -> tuple[str, str, Constants]:
    nodes = """
        mean = ReduceMean<keepdims=1>(image, channels)
        difference = Sub(mean, gray)
        size = Abs(difference)
        contrast = Div(size, gray)"""
    for name, size in zip(LEVELS, SAMPLES, strict=True):
        side = f"[{size}, {size}]"
        nodes += f"\n{name} = AveragePool<kernel_shape={side}, strides={side}>(contrast)"
    constants: Constants = {"channels": np.array([1]), "gray": np.array(GRAY, np.float32)}
    return f"image > {' '.join(LEVELS)}", nodes, constants


def score() -> tuple[str, str, Constants]:
    """A cell of the maps read here is half a stride; `side` of them are a window."""

    def kernel(side: int, room: int) -> npt.NDArray[np.float32]:
        own = -np.ones((side, side), np.float32)
        own[side // 4 : -side // 4, side // 4 : -side // 4] = 1
        return np.pad(own * np.float32(BEST / (side // 2) ** 2), (room - side) // 2)

    nodes = f"""
        near = Conv<strides=[2, 2], pads=[3, 3, 3, 3]>({LEVELS[1]}, near_kernel)
        far = Conv<strides=[2, 2], pads=[7, 7, 7, 7]>({LEVELS[2]}, far_kernels)"""
    far = np.stack([kernel(8, 16), kernel(16, 16)])[:, None]
    edges = f"{' '.join(LEVELS[1:])} > near far"
    return edges, nodes, {"near_kernel": kernel(8, 8)[None, None], "far_kernels": far}


def _mask() -> tuple[str, str, Constants]:
    nodes, constants = flattened()
    gathering, more = gathered(range(len(GRIDS)))
    return f"{' '.join(LEVELS)} locations > mask", nodes + gathering, {**constants, **more}


def flattened() -> tuple[str, Constants]:
    """Put all three maps into `samples`, flat and one after another, with zeros around each.

    `bases` is where each begins, `widths` how far one row is from the next.
    """
    nodes = ""
    for name in LEVELS:
        nodes += f"""
            {name}_padded = Pad({name}, pads)
            {name}_width = Shape<start=3, end=4>({name}_padded)
            {name}_flat = Reshape({name}_padded, flat)
            {name}_size = Shape({name}_flat)"""
    for made, what in (("samples", "flat"), ("widths", "width"), ("sizes", "size")):
        nodes += f"\n{made} = Concat<axis=0>({', '.join(f'{name}_{what}' for name in LEVELS)})"
    nodes += "\nbases = CumSum<exclusive=1>(sizes, zero)"
    constants: Constants = {
        "pads": np.array([0, 0, MASK_SIZE, MASK_SIZE] * 2),
        "flat": np.array([-1]),
        "zero": np.array(0),
    }
    return nodes, constants


def gathered(grids: Collection[int]) -> tuple[str, Constants]:
    """Read `mask` from `samples`; masks of other grids' windows than these are not finite."""
    places = list(zip(GRIDS, SAMPLES, strict=True))
    step = [grid.stride // size for grid, size in places]
    start = [int(grid.stride * grid.offset - grid.sides[0] / 2) // size for grid, size in places]
    nodes = ""
    for index, name in enumerate(("grid", "row", "col")):
        nodes += f"\n{name} = Gather<axis=1>(locations, column{index})"
    for name, table in zip(
        ("step", "start", "width", "base"), ("steps", "starts", "widths", "bases"), strict=True
    ):
        nodes += f"\n{name} = Gather<axis=0>({table}, grid)"
    nodes += """
        row_steps = Mul(row, step)
        top = Add(row_steps, start)
        col_steps = Mul(col, step)
        left = Add(col_steps, start)
        y = Add(top, down)
        x = Add(left, across)
        line = Mul(y, width)
        place = Add(line, x)
        index = Add(place, base)
        read = Gather<axis=0>(samples, index)
        window = Reshape(read, square)
        centred = Sub(window, half)
        of_grid = Gather<axis=0>(steeps, grid)
        steep = Unsqueeze(of_grid, last)
        mask = Mul(centred, steep)"""
    side = np.arange(MASK_SIZE)
    constants: Constants = {
        **{f"column{index}": np.array([index]) for index in range(3)},
        "steps": np.array(step),
        "starts": np.array(start) + MASK_SIZE,
        "down": np.repeat(side, MASK_SIZE)[None],
        "across": np.tile(side, MASK_SIZE)[None],
        "square": np.array([-1, MASK_SIZE, MASK_SIZE]),
        "half": np.array(0.5, np.float32),
        "steeps": np.array([20 if k in grids else np.nan for k in range(len(GRIDS))], np.float32),
        "last": np.array([2]),
    }
    return nodes, constants
