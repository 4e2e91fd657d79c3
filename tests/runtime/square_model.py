"""A model made by hand that finds squares on gray: the runtime's tests need no training, no torch.

The trunk keeps every pixel's contrast (16×16 pixels of a cell become 256 channels), the score is
contrast in the middle of a window against its rim, the mask is the contrast of the window's pixels.
A square of half the patch in a window's middle scores highest, and its mask is known exactly.
Refined, the mask has a sample for every pixel of the window, and the model its coarse form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.folder import write_manifest
from deepmask.runtime.model.manifest import (
    VIEW,
    WINDOWS,
    Coarse,
    Grid,
    Manifest,
    Scales,
    Stage,
    TensorSpec,
    Views,
)

PATCH, STRIDE, MASK_SIZE, BORDER = 64, 16, 16, 48
CELLS = PATCH // STRIDE
MARGIN = (BORDER - PATCH // 2) // STRIDE
CHANNELS = STRIDE**2
FILL = 127.5
#: The mask's logit is this steep: full contrast gives +STEEP / 2, none -STEEP / 2.
STEEP = 20.0

Constants = dict[str, npt.NDArray[Any]]

_CELLS = (f"height/{STRIDE}", f"width/{STRIDE}")
#: Every tensor that crosses from one graph to the next; a refined mask has PATCH samples a side.
TENSORS = {
    "image": TensorSpec("image", "float32", (1, 3, "height", "width")),
    "features": TensorSpec("map", "float32", (1, CHANNELS, *_CELLS)),
    "skips": TensorSpec("map", "float32", (1, *_CELLS, CHANNELS)),
    "score": TensorSpec("score", "float32", (1, 1, "rows", "cols")),
    "code": TensorSpec("map", "float32", (1, CHANNELS * CELLS**2, "rows", "cols")),
    "locations": TensorSpec("locations", "int64", ("n", 2)),
    "mask": TensorSpec("mask", "float32", ("n", MASK_SIZE, MASK_SIZE)),
}
REFINED = {**TENSORS, "mask": TensorSpec("mask", "float32", ("n", PATCH, PATCH))}


def write_square_model(folder: Path, through_code: bool = False, refined: bool = False) -> Path:
    """Write the model folder. With `through_code` the mask graph reads `code`, made by `score`."""
    folder.mkdir(parents=True, exist_ok=True)
    blunt = _mask("code", 0) if through_code else _mask("features", MARGIN)
    if refined:
        files = {"coarse_trunk": _trunk(), "coarse_mask": blunt}
        files |= {"trunk": _trunk(with_skips=True), "mask": _refined_mask()}
    else:
        files = {"trunk": _trunk(), "mask": blunt}
    files["score"] = _score(with_code=through_code)
    for name, model in files.items():
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")

    def stage(name: str, file: str, size: int = MASK_SIZE) -> Stage:
        return _stage(name, folder / f"{file}.onnx", files[file], size)

    score = stage("score", "score")
    stages = (
        stage("trunk", "trunk"),
        score,
        stage("mask", "mask", PATCH if refined else MASK_SIZE),
    )
    coarse = None
    if refined:
        others = (stage("trunk", "coarse_trunk"), score, stage("mask", "coarse_mask"))
        coarse = Coarse((_grid(MASK_SIZE),), others)
    write_manifest(
        Manifest(
            name="squares",
            precision="fp32",
            views=Views(
                scales=Scales(-2.0, 1.0, 0.5),
                max_side=1333,
                enlarge=False,
                border=BORDER,
                fill=FILL,
                multiple=STRIDE,
            ),
            grids=(_grid(PATCH if refined else MASK_SIZE),),
            stages=stages,
            threshold=0.5,
            overlap=1.0,
            scale_prior=0.0,
            categories=None,
            coarse=coarse,
            about={"opset": 18},
        ),
        folder,
    )
    return folder


def _grid(mask_size: int) -> Grid:
    return Grid("windows", "score", 0, STRIDE, PATCH, mask_size, 0.0)


def _stage(name: str, path: Path, model: onnx.ModelProto, mask_size: int) -> Stage:
    tensors = TENSORS if mask_size == MASK_SIZE else REFINED
    return Stage(
        name=name,
        file=path.name,
        sha256=sha256_of(path),
        per=WINDOWS if name == "mask" else VIEW,
        inputs={value.name: tensors[value.name] for value in model.graph.input},
        outputs={value.name: tensors[value.name] for value in model.graph.output},
        layers={"score": ("kernel",)} if name == "score" else {},
    )


def _trunk(with_skips: bool = False) -> onnx.ModelProto:
    constants: Constants = {
        "fill": np.array(FILL, np.float32),
        "half": np.array(255 / 2, np.float32),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["gray"], keepdims=1),
        helper.make_node("Sub", ["gray", "fill"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["size"]),
        helper.make_node("Div", ["size", "half"], ["contrast"]),
        helper.make_node("SpaceToDepth", ["contrast"], ["features"], blocksize=STRIDE),
    ]
    if with_skips:
        nodes.append(helper.make_node("Transpose", ["features"], ["skips"], perm=[0, 2, 3, 1]))
    edges = "image > features skips" if with_skips else "image > features"
    return _model(nodes, edges, constants)


def _score(with_code: bool) -> onnx.ModelProto:
    kernel = -np.ones((1, 1, CELLS, CELLS), np.float32)
    kernel[:, :, 1:-1, 1:-1] = 1
    constants: Constants = {
        "kernel": kernel,
        "axes": np.array([1], np.int64),
        "start": np.array([MARGIN, MARGIN], np.int64),
        "stop": np.array([-MARGIN, -MARGIN], np.int64),
        "space": np.array([2, 3], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["features", "axes"], ["cell"], keepdims=1),
        helper.make_node("Slice", ["cell", "start", "stop", "space"], ["inner"]),
        helper.make_node("Conv", ["inner", "kernel"], ["score"]),
    ]
    if with_code:
        # A location's code: the pixels of the CELLS×CELLS cells of its window, one after another.
        parts = []
        for row in range(CELLS):
            for col in range(CELLS):
                end = [row - CELLS + 1 - MARGIN, col - CELLS + 1 - MARGIN]
                constants[f"from{row}{col}"] = np.array([MARGIN + row, MARGIN + col], np.int64)
                constants[f"to{row}{col}"] = np.array(end, np.int64)
                part = f"part{row}{col}"
                slice_inputs = ["features", f"from{row}{col}", f"to{row}{col}", "space"]
                nodes.append(helper.make_node("Slice", slice_inputs, [part]))
                parts.append(part)
        nodes.append(helper.make_node("Concat", parts, ["code"], axis=1))
    edges = "features > score code" if with_code else "features > score"
    return _model(nodes, edges, constants)


def _mask(source: str, margin: int) -> onnx.ModelProto:
    code = source == "code"
    cells = 1 if code else CELLS
    channels = CHANNELS * CELLS**2 if code else CHANNELS
    steps = margin + np.arange(cells)
    constants: Constants = {
        "last": np.array([-1], np.int64),
        "rows": np.repeat(steps, cells)[None, :].astype(np.int64),
        "cols": np.tile(steps, cells)[None, :].astype(np.int64),
        "flat": np.array([channels, -1], np.int64),
        "i": np.array([0], np.int64),
        "j": np.array([1], np.int64),
        "map": np.array([-1, CELLS, CELLS, CHANNELS], np.int64),
        "out": np.array([-1, MASK_SIZE, MASK_SIZE], np.int64),
        "half": np.array(0.5, np.float32),
        "steep": np.array(STEEP, np.float32),
    }
    nodes = [
        helper.make_node("Shape", [source], ["width"], start=3, end=4),
        helper.make_node("Gather", ["locations", "i"], ["row"], axis=1),
        helper.make_node("Gather", ["locations", "j"], ["col"], axis=1),
        helper.make_node("Add", ["row", "rows"], ["y"]),
        helper.make_node("Add", ["col", "cols"], ["x"]),
        helper.make_node("Mul", ["y", "width"], ["line"]),
        helper.make_node("Add", ["line", "x"], ["cell"]),
        helper.make_node("Reshape", [source, "flat"], ["channels_first"]),
        helper.make_node("Transpose", ["channels_first"], ["cells_first"], perm=[1, 0]),
        helper.make_node("Gather", ["cells_first", "cell"], ["gathered"], axis=0),
        helper.make_node("Reshape", ["gathered", "map"], ["window"]),
        helper.make_node("Transpose", ["window"], ["maps"], perm=[0, 3, 1, 2]),
        helper.make_node("DepthToSpace", ["maps"], ["pixels"], blocksize=STRIDE, mode="DCR"),
        helper.make_node(
            "AveragePool",
            ["pixels"],
            ["samples"],
            kernel_shape=[PATCH // MASK_SIZE] * 2,
            strides=[PATCH // MASK_SIZE] * 2,
        ),
        helper.make_node("Sub", ["samples", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "steep"], ["logits"]),
        helper.make_node("Reshape", ["logits", "out"], ["mask"]),
    ]
    return _model(nodes, f"{source} locations > mask", constants)


def _refined_mask() -> onnx.ModelProto:
    """Every pixel of the window out of the skip maps, without the averaging of `_mask`."""
    steps = MARGIN + np.arange(CELLS)
    constants: Constants = {
        "rows": np.repeat(steps, CELLS)[None, :].astype(np.int64),
        "cols": np.tile(steps, CELLS)[None, :].astype(np.int64),
        "flat": np.array([-1, CHANNELS], np.int64),
        "i": np.array([0], np.int64),
        "j": np.array([1], np.int64),
        "map": np.array([-1, CELLS, CELLS, STRIDE, STRIDE], np.int64),
        "out": np.array([-1, PATCH, PATCH], np.int64),
        "half": np.array(0.5, np.float32),
        "steep": np.array(STEEP, np.float32),
    }
    nodes = [
        helper.make_node("Shape", ["skips"], ["width"], start=2, end=3),
        helper.make_node("Gather", ["locations", "i"], ["row"], axis=1),
        helper.make_node("Gather", ["locations", "j"], ["col"], axis=1),
        helper.make_node("Add", ["row", "rows"], ["y"]),
        helper.make_node("Add", ["col", "cols"], ["x"]),
        helper.make_node("Mul", ["y", "width"], ["line"]),
        helper.make_node("Add", ["line", "x"], ["cell"]),
        helper.make_node("Reshape", ["skips", "flat"], ["cells"]),
        helper.make_node("Gather", ["cells", "cell"], ["gathered"], axis=0),
        helper.make_node("Reshape", ["gathered", "map"], ["window"]),
        helper.make_node("Transpose", ["window"], ["pixels"], perm=[0, 1, 3, 2, 4]),
        helper.make_node("Reshape", ["pixels", "out"], ["samples"]),
        helper.make_node("Sub", ["samples", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "steep"], ["mask"]),
    ]
    return _model(nodes, "skips locations > mask", constants, REFINED)


def _model(
    nodes: list[onnx.NodeProto],
    edges: str,
    constants: Constants,
    tensors: Mapping[str, TensorSpec] = TENSORS,
) -> onnx.ModelProto:
    """A graph whose edges are given as "inputs > outputs"."""
    inputs, outputs = (
        [_value(name, tensors[name]) for name in side.split()] for side in edges.split(">")
    )
    used = {name for node in nodes for name in node.input}
    initialisers = [
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in used
    ]
    graph = helper.make_graph(nodes, "squares", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _value(name: str, spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = TensorProto.INT64 if spec.dtype == "int64" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, spec.axes)
