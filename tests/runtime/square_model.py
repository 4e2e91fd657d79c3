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

from deepmask.runtime.model import manifest as m
from deepmask.runtime.model.folder import with_checksums, write_manifest

PATCH, STRIDE, MASK_SIZE, BORDER = 64, 16, 16, 48
CELLS = PATCH // STRIDE
MARGIN = (BORDER - PATCH // 2) // STRIDE
CHANNELS = STRIDE**2
FILL = 127.5
#: The mask's logit is this steep: full contrast gives +STEEP / 2, none -STEEP / 2.
STEEP = 20.0

Constants = dict[str, npt.NDArray[Any]]
Tensors = Mapping[str, m.TensorSpec]

_CELLS = (f"height/{STRIDE}", f"width/{STRIDE}")
#: Every tensor that crosses from one graph to the next; a refined mask has PATCH samples a side.
TENSORS = {
    "image": m.TensorSpec("image", "float32", (1, 3, "height", "width")),
    "features": m.TensorSpec("map", "float32", (1, CHANNELS, *_CELLS)),
    "skips": m.TensorSpec("map", "float32", (1, *_CELLS, CHANNELS)),
    "score": m.TensorSpec("score", "float32", (1, 1, "rows", "cols")),
    "code": m.TensorSpec("map", "float32", (1, CHANNELS * CELLS**2, "rows", "cols")),
    "locations": m.TensorSpec("locations", "int64", ("n", 2)),
    "mask": m.TensorSpec("mask", "float32", ("n", MASK_SIZE, MASK_SIZE)),
}
REFINED = {**TENSORS, "mask": m.TensorSpec("mask", "float32", ("n", PATCH, PATCH))}


def write_square_model(folder: Path, through_code: bool = False, refined: bool = False) -> Path:
    """Write the model folder. With `through_code` the mask graph reads `code`, made by `score`."""
    folder.mkdir(parents=True, exist_ok=True)
    score = stage_of(folder, "score", *_score(through_code), TENSORS, {"score": ("kernel",)})
    blunt = _mask("code" if through_code else "features", MASK_SIZE)

    def stages(trunk: str, mask: str, *sharp: str) -> tuple[m.Stage, ...]:
        drawn = _mask("skips", PATCH) if sharp else blunt
        return (
            stage_of(folder, trunk, *_trunk(*sharp), TENSORS),
            score,
            stage_of(folder, mask, *drawn, REFINED if sharp else TENSORS),
        )

    def grids(mask_size: int) -> tuple[m.Grid, ...]:
        return (m.Grid("windows", "score", 0, STRIDE, PATCH, mask_size, 0.0),)

    manifest = m.Manifest(
        name="squares",
        precision="fp32",
        views=m.Views(m.Scales(-2.0, 1.0, 0.5), 1333, False, BORDER, FILL, STRIDE),
        grids=grids(PATCH if refined else MASK_SIZE),
        stages=stages("trunk", "mask", *(["skips"] if refined else [])),
        threshold=0.5,
        overlap=1.0,
        scale_prior=0.0,
        categories=None,
        coarse=m.Coarse(grids(MASK_SIZE), stages("coarse_trunk", "coarse_mask"))
        if refined
        else None,
        about={"opset": 18},
    )
    write_manifest(with_checksums(manifest, folder), folder)
    return folder


def stage_of(
    folder: Path,
    file: str,
    edges: str,
    nodes: str,
    constants: Constants,
    tensors: Tensors,
    layers: Mapping[str, tuple[str, ...]] = {},
) -> m.Stage:
    """Write a graph of ONNX's own text, a node a line, whose edges are "inputs > outputs"."""
    inputs, outputs = ({key: tensors[key] for key in side.split()} for side in edges.split(">"))
    kinds = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}
    values = [
        [helper.make_tensor_value_info(key, kinds[one.dtype], one.axes) for key, one in side]
        for side in (inputs.items(), outputs.items())
    ]
    parsed = [onnx.parser.parse_node(line) for line in nodes.strip().splitlines()]
    used = {name for node in parsed for name in node.input}
    kept = [numpy_helper.from_array(value, key) for key, value in constants.items() if key in used]
    graph = helper.make_graph(parsed, file, values[0], values[1], kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / f"{file}.onnx")
    name = file.removeprefix("coarse_")
    per = m.WINDOWS if "mask" in outputs else m.BOXES if "boxes" in inputs else m.VIEW
    return m.Stage(name, f"{file}.onnx", "", per, inputs, outputs, dict(layers))


def _trunk(*skips: str) -> tuple[str, str, Constants]:
    nodes = f"""
        gray = ReduceMean<keepdims=1>(image, axes)
        difference = Sub(gray, fill)
        size = Abs(difference)
        contrast = Div(size, half)
        features = SpaceToDepth<blocksize={STRIDE}>(contrast)"""
    if skips:
        nodes += "\nskips = Transpose<perm=[0, 2, 3, 1]>(features)"
    constants = {"fill": FILL, "half": 255 / 2}
    return (
        " ".join(("image > features", *skips)),
        nodes,
        {
            **{name: np.array(value, np.float32) for name, value in constants.items()},
            "axes": np.array([1]),
        },
    )


def _score(with_code: bool) -> tuple[str, str, Constants]:
    kernel = -np.ones((1, 1, CELLS, CELLS), np.float32)
    kernel[:, :, 1:-1, 1:-1] = 1
    constants: Constants = {
        "kernel": kernel,
        "axes": np.array([1]),
        "start": np.array([MARGIN, MARGIN]),
        "stop": np.array([-MARGIN, -MARGIN]),
        "space": np.array([2, 3]),
    }
    nodes = """
        cell = ReduceMean<keepdims=1>(features, axes)
        inner = Slice(cell, start, stop, space)
        score = Conv(inner, kernel)"""
    if not with_code:
        return "features > score", nodes, constants
    # A location's code: the pixels of the CELLS×CELLS cells of its window, one after another.
    parts = [(row, col) for row in range(CELLS) for col in range(CELLS)]
    for row, col in parts:
        constants[f"from{row}{col}"] = np.array([MARGIN + row, MARGIN + col])
        constants[f"to{row}{col}"] = np.array([row, col]) - CELLS + 1 - MARGIN
        nodes += f"\npart{row}{col} = Slice(features, from{row}{col}, to{row}{col}, space)"
    nodes += f"\ncode = Concat<axis=1>({', '.join(f'part{row}{col}' for row, col in parts)})"
    return "features > score code", nodes, constants


def _mask(source: str, size: int) -> tuple[str, str, Constants]:
    """Every pixel of the window, of which fewer samples are averages. Skips have channels last."""
    cells, margin = (1, 0) if source == "code" else (CELLS, MARGIN)
    last, per = source == "skips", PATCH // size
    steps, channels = margin + np.arange(cells), CHANNELS * (CELLS // cells) ** 2
    nodes = f"""
        width = Shape<start={2 if last else 3}, end={3 if last else 4}>({source})
        row = Gather<axis=1>(locations, i)
        col = Gather<axis=1>(locations, j)
        y = Add(row, rows)
        x = Add(col, cols)
        line = Mul(y, width)
        cell = Add(line, x)
        flat = Reshape({source}, flat_shape)
        cells = Transpose<perm=[{"0, 1" if last else "1, 0"}]>(flat)
        gathered = Gather<axis=0>(cells, cell)
        window = Reshape(gathered, map)
        pixels = Transpose<perm=[0, 1, 3, 2, 4]>(window)
        plane = Reshape(pixels, plane_shape)
        samples = AveragePool<kernel_shape=[{per}, {per}], strides=[{per}, {per}]>(plane)
        centred = Sub(samples, half)
        logits = Mul(centred, steep)
        mask = Reshape(logits, out)"""
    constants: Constants = {
        "rows": np.repeat(steps, cells)[None, :],
        "cols": np.tile(steps, cells)[None, :],
        "flat_shape": np.array([-1, channels] if last else [channels, -1]),
        "i": np.array([0]),
        "j": np.array([1]),
        "map": np.array([-1, CELLS, CELLS, STRIDE, STRIDE]),
        "plane_shape": np.array([-1, 1, PATCH, PATCH]),
        "out": np.array([-1, size, size]),
        "half": np.array(0.5, np.float32),
        "steep": np.array(STEEP, np.float32),
    }
    return f"{source} locations > mask", nodes, constants
