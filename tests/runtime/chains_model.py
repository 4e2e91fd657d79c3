"""The model of three grids with a second look, and with stages of their own for windows of a grid.

What windows read is made once a view: `samples`, a table of as many rows as it takes, and
`layout`, which says where each grid's begin. `mask-small` takes windows of one grid, `mask-large`
those of two; what they make of another grid's is not finite, which the runtime refuses. A rank is
the contrast in the middle of a window against its corner.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepmask.runtime.model.manifest import TensorSpec
from tests.runtime import grids_model
from tests.runtime.grids_model import GRIDS, LEVELS, MASK_SIZE, write_model
from tests.runtime.square_model import Constants, stage_of

TENSORS = {
    **grids_model.TENSORS,
    "samples": TensorSpec("map", "float32", ("any", 1)),
    "layout": TensorSpec("map", "int64", (2, len(GRIDS))),
    "rank": TensorSpec("rank", "float32", ("n",)),
}
CHAINS = {"mask-small": (0,), "mask-large": (1, 2)}


def write_chains_model(folder: Path, ranks: bool = True) -> Path:
    """Write the model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = (("trunk", grids_model.trunk()), ("score", grids_model.score()), ("table", _table()))
    stages = [stage_of(folder, name, *graph, TENSORS) for name, graph in graphs]
    for name, grids in CHAINS.items():
        stage = stage_of(folder, name, *_masks(grids, ranks), TENSORS)
        stages.append(replace(stage, grids=tuple(GRIDS[index].name for index in grids)))
    return write_model(folder, stages)


def _table() -> tuple[str, str, Constants]:
    nodes, constants = grids_model.flattened()
    nodes = nodes.replace("samples = ", "row = ")
    nodes += """
        samples = Reshape(row, upright)
        both = Concat<axis=0>(bases, widths)
        layout = Reshape(both, two)"""
    constants |= {"upright": np.array([-1, 1]), "two": np.array([2, len(GRIDS)])}
    return f"{' '.join(LEVELS)} > samples layout", nodes, constants


def _masks(grids: tuple[int, ...], ranks: bool) -> tuple[str, str, Constants]:
    gathering, constants = grids_model.gathered(grids)
    nodes = """
        bases = Gather<axis=0>(layout, first)
        widths = Gather<axis=0>(layout, second)"""
    nodes += gathering
    if ranks:
        nodes += """
            flat = Reshape(mask, row_by_row)
            middle = Gather<axis=1>(flat, middle_at)
            corner = Gather<axis=1>(flat, corner_at)
            rank = Sub(middle, corner)"""
    constants |= {
        "first": np.array(0),
        "second": np.array(1),
        "row_by_row": np.array([-1, MASK_SIZE**2]),
        "middle_at": np.array(MASK_SIZE // 2 * (MASK_SIZE + 1)),
        "corner_at": np.array(0),
    }
    made = "mask rank" if ranks else "mask"
    return f"samples layout locations > {made}", nodes, constants
