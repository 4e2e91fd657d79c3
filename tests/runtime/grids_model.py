"""A model made by hand with three grids: each finds squares of one size on gray.

The trunk keeps the contrast to gray at three resolutions. A score is contrast in the middle of a
window against its rim; a mask is the contrast in the window, at the resolution that gives 16
samples a side. All sums are exact in float32, so squares of a grid's own size
score `BEST`, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from deepmask.runtime.model.folder import with_checksums, write_manifest
from deepmask.runtime.model.manifest import (
    VIEW,
    WINDOWS,
    Grid,
    Manifest,
    Scales,
    Stage,
    TensorSpec,
    Views,
)

GRAY, BEST, MASK_SIZE = 127, 4.0, 16
#: Two maps of scores: "far" has a channel for each of two grids.
GRIDS = (
    Grid("small", "near", 0, 8, 32, MASK_SIZE, 0.5),
    Grid("large", "far", 0, 16, 64, MASK_SIZE, 0.5),
    Grid("huge", "far", 1, 16, 128, MASK_SIZE, 0.5),
)
#: Sides of canvases are multiples of more than any stride.
MULTIPLE = 64

_SAMPLES = tuple(grid.window // MASK_SIZE for grid in GRIDS)  # pixels of a mask's sample
_LEVELS = tuple(f"level{samples}" for samples in _SAMPLES)
_TENSORS = {
    "image": TensorSpec("image", "float32", (1, 3, "height", "width")),
    **{
        name: TensorSpec("map", "float32", (1, 1, f"height/{size}", f"width/{size}"))
        for name, size in zip(_LEVELS, _SAMPLES, strict=True)
    },
    "near": TensorSpec("score", "float32", (1, 1, "rows", "cols")),
    "far": TensorSpec("score", "float32", (1, 2, "height/16", "width/16")),
    "locations": TensorSpec("locations", "int64", ("n", 3)),
    "mask": TensorSpec("mask", "float32", ("n", MASK_SIZE, MASK_SIZE)),
}
_EDGES = {
    "trunk": (VIEW, ("image",), _LEVELS),
    "score": (VIEW, _LEVELS[1:], ("near", "far")),
    "mask": (WINDOWS, (*_LEVELS, "locations"), ("mask",)),
}
_Constants = Mapping[str, npt.NDArray[Any]]


def write_grids_model(folder: Path) -> Path:
    """Write the model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = []
    for name, (nodes, constants) in {"trunk": _trunk(), "score": _score(), "mask": _mask()}.items():
        per, *edges = _EDGES[name]
        inputs, outputs = ({one: _TENSORS[one] for one in names} for names in edges)
        model = _model(nodes, inputs, outputs, constants)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")
        stages.append(Stage(name, f"{name}.onnx", "", per, inputs, outputs, {}))
    manifest = Manifest(
        name="three grids",
        precision="fp32",
        views=Views(Scales(0, 0, 1), 1333, False, 0, GRAY, MULTIPLE),
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


def _trunk() -> tuple[list[onnx.NodeProto], _Constants]:
    nodes = [
        helper.make_node("ReduceMean", ["image", "channels"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["mean", "gray"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["size"]),
        helper.make_node("Div", ["size", "gray"], ["contrast"]),
        *(
            helper.make_node(
                "AveragePool", ["contrast"], [name], kernel_shape=[size] * 2, strides=[size] * 2
            )
            for name, size in zip(_LEVELS, _SAMPLES, strict=True)
        ),
    ]
    return nodes, {"channels": np.array([1]), "gray": np.array(GRAY, np.float32)}


def _score() -> tuple[list[onnx.NodeProto], _Constants]:
    """A cell of the maps read here is half a stride; `side` of them are a window."""

    def kernel(side: int, room: int) -> npt.NDArray[np.float32]:
        own = -np.ones((side, side), np.float32)
        own[side // 4 : -side // 4, side // 4 : -side // 4] = 1
        return np.pad(own * np.float32(BEST / (side // 2) ** 2), (room - side) // 2)

    nodes = [
        helper.make_node("Conv", [level, weights], [made], strides=[2, 2], pads=[side // 2 - 1] * 4)
        for level, weights, made, side in (
            (_LEVELS[1], "near_kernel", "near", 8),
            (_LEVELS[2], "far_kernels", "far", 16),
        )
    ]
    far = np.stack([kernel(8, 16), kernel(16, 16)])[:, None]
    return nodes, {"near_kernel": kernel(8, 8)[None, None], "far_kernels": far}


def _mask() -> tuple[list[onnx.NodeProto], _Constants]:
    """Samples are gathered from all three maps, flat and one after another, with zeros around."""
    step = [grid.stride // size for grid, size in zip(GRIDS, _SAMPLES, strict=True)]
    start = [
        int(grid.stride * grid.offset - grid.window / 2) // size
        for grid, size in zip(GRIDS, _SAMPLES, strict=True)
    ]
    nodes = []
    for name in _LEVELS:
        nodes += [
            helper.make_node("Pad", [name, "pads"], [f"{name}_padded"]),
            helper.make_node("Shape", [f"{name}_padded"], [f"{name}_width"], start=3, end=4),
            helper.make_node("Reshape", [f"{name}_padded", "flat"], [f"{name}_flat"]),
            helper.make_node("Shape", [f"{name}_flat"], [f"{name}_size"]),
        ]
    for made, what in (("samples", "flat"), ("widths", "width"), ("sizes", "size")):
        nodes.append(
            helper.make_node("Concat", [f"{name}_{what}" for name in _LEVELS], [made], axis=0)
        )
    nodes.append(helper.make_node("CumSum", ["sizes", "zero"], ["bases"], exclusive=1))
    for index, name in enumerate(("grid", "row", "col")):
        nodes.append(helper.make_node("Gather", ["locations", f"column{index}"], [name], axis=1))
    for name, table in (("step", "steps"), ("start", "starts"), ("width", "widths")):
        nodes.append(helper.make_node("Gather", [table, "grid"], [name], axis=0))
    nodes.append(helper.make_node("Gather", ["bases", "grid"], ["base"], axis=0))
    for name, corner in (("row", "top"), ("col", "left")):
        nodes.append(helper.make_node("Mul", [name, "step"], [f"{name}_steps"]))
        nodes.append(helper.make_node("Add", [f"{name}_steps", "start"], [corner]))
    nodes += [
        helper.make_node("Add", ["top", "down"], ["y"]),  # (n, 1) and (1, 256)
        helper.make_node("Add", ["left", "across"], ["x"]),
        helper.make_node("Mul", ["y", "width"], ["line"]),
        helper.make_node("Add", ["line", "x"], ["place"]),
        helper.make_node("Add", ["place", "base"], ["index"]),
        helper.make_node("Gather", ["samples", "index"], ["gathered"], axis=0),
        helper.make_node("Reshape", ["gathered", "square"], ["window"]),
        helper.make_node("Sub", ["window", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "steep"], ["mask"]),
    ]
    side = np.arange(MASK_SIZE)
    return nodes, {
        "pads": np.array([0, 0, MASK_SIZE, MASK_SIZE] * 2),
        "flat": np.array([-1]),
        "zero": np.array(0),
        **{f"column{index}": np.array([index]) for index in range(3)},
        "steps": np.array(step),
        "starts": np.array(start) + MASK_SIZE,
        "down": np.repeat(side, MASK_SIZE)[None],
        "across": np.tile(side, MASK_SIZE)[None],
        "square": np.array([-1, MASK_SIZE, MASK_SIZE]),
        "half": np.array(0.5, np.float32),
        "steep": np.array(20, np.float32),
    }


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    constants: _Constants,
) -> onnx.ModelProto:
    kinds = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}
    edges = [
        [helper.make_tensor_value_info(name, kinds[spec.dtype], spec.axes) for name, spec in side]
        for side in (inputs.items(), outputs.items())
    ]
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "grids", edges[0], edges[1], initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
