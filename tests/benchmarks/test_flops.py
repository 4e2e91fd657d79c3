"""The counter of multiply-adds against arithmetic done by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.flops import multiply_adds, plan_gflop, without_weights
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Grid
from deepmask.runtime.model.shipped import shipped_model, shipped_names
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import View, plan_views
from tests.benchmarks.conftest import Exports

Axes: TypeAlias = Mapping[str, Sequence[int | str]]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Axes,
    outputs: Axes,
    constants: Mapping[str, npt.NDArray[Any]],
) -> onnx.ModelProto:
    def values(tensors: Axes) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
            for name, dims in tensors.items()
        ]

    made = helper.make_graph(
        nodes,
        "test",
        values(inputs),
        values(outputs),
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("attributes", "groups", "side"),
    [
        ({}, 1, 18),
        ({"strides": [2, 2], "pads": [1, 1, 1, 1]}, 1, 10),
        ({"dilations": [2, 2]}, 1, 16),
        ({"group": 4, "pads": [1, 1, 1, 1]}, 4, 20),
    ],
)
@pytest.mark.parametrize("light", [False, True], ids=["weights", "no-weights"])
def test_convolution(attributes: dict[str, Any], groups: int, side: int, light: bool) -> None:
    weight = np.zeros((32, 16 // groups, 3, 3), np.float32)
    model = graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)],
        {"x": [1, 16, "h", "w"]},
        {"y": [1, 32, "rows", "cols"]},
        {"w": weight},
    )
    count, shapes = multiply_adds(
        without_weights(model) if light else model, {"x": (1, 16, 20, 20)}
    )
    assert shapes == {"y": (1, 32, side, side)}
    assert count == side * side * weight.size


@pytest.mark.parametrize("turned", [0, 1])
def test_matrix_products(turned: int) -> None:
    weight = np.zeros((70, 50) if turned else (50, 70), np.float32)
    model = graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["hidden"], transB=turned),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "v"], ["y"]),
        ],
        {"x": ["n", 50]},
        {"y": ["n", 9]},
        {"w": weight, "b": np.zeros(70, np.float32), "v": np.zeros((70, 9), np.float32)},
    )
    count, shapes = multiply_adds(model, {"x": (3, 50)})
    assert count == 3 * 50 * 70 + 3 * 70 * 9
    assert shapes == {"y": (3, 9)}


def test_sizes_that_are_divided_are_followed() -> None:
    """A picture's side, halved, becomes a size of a reshape: as the skip maps of refinement are."""
    nodes = [
        helper.make_node("Shape", ["x"], ["side"], start=2, end=3),
        helper.make_node("Div", ["side", "two"], ["half"]),
        helper.make_node("Concat", ["one", "wide", "half", "half"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["cells"]),
        helper.make_node("Conv", ["cells", "w"], ["y"]),
    ]
    constants = {
        name: np.array([value], np.int64) for name, value in (("one", 1), ("two", 2), ("wide", 8))
    }
    constants["w"] = np.zeros((5, 8, 1, 1), np.float32)
    model = graph(nodes, {"x": [1, 2, "h", "w"]}, {"y": [1, 5, "rows", "cols"]}, constants)
    count, shapes = multiply_adds(model, {"x": (1, 2, 12, 12)})
    assert (count, shapes) == (5 * 8 * 6 * 6, {"y": (1, 5, 6, 6)})


def test_an_unknown_shape_is_named() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    model = graph([node], {"x": [1, 2, "h", "w"], "w": [4, 2, 3, "k"]}, {"y": [1, 4, "r", "c"]}, {})
    with pytest.raises(ValueError, match="Conv first: the shape of"):
        multiply_adds(model, {"x": (1, 2, 20, 20)})


@pytest.mark.parametrize("name", ["shared", "pooled"])
def test_plan(exports: Exports, name: str) -> None:
    """Two views of a network whose layers are counted here one by one."""
    folder, network = exports[name]
    manifest = load_manifest(folder)
    views = plan_views(80, 112, (0.5, 1.0), manifest.views)
    one = plan_gflop(folder, manifest, views[:1], 7)
    both = plan_gflop(folder, manifest, views, 7)
    counted = expected(network.config, manifest.grids[0], views, 7)
    assert both == pytest.approx({key: 2e-9 * value for key, value in counted.items()})
    assert one["trunk"] < both["trunk"]


def expected(
    config: DeepMaskConfig, grid: Grid, views: Sequence[View], windows: int
) -> dict[str, int]:
    """Multiply-adds of a ResNet-18 trunk and low-rank heads, layer by layer (DeepMask §3.1)."""
    trunk = score = mask = 0
    cells, code_length = config.cells, config.channels * config.cells**2 * config.rank
    for view in views:
        area = view.canvas_height * view.canvas_width
        blocks = 4 * 64 * 64 * 9 / 16  # layer1, at stride 4
        blocks += (64 * 128 * 9 + 3 * 128 * 128 * 9 + 64 * 128) / 64
        blocks += (128 * 256 * 9 + 3 * 256 * 256 * 9 + 128 * 256) / 256
        trunk += int(area * (3 * 64 * 49 / 4 + blocks))
        rows, cols = location_counts(view, grid)
        locations = rows * cols
        inner = (rows + cells - 1) * (cols + cells - 1)
        reduce = 256 * config.channels
        if config.score_head == "shared":
            hidden = config.rank * config.score_width + config.score_width
            score += inner * reduce + locations * (code_length + hidden)
        else:
            hidden = 512 * config.score_width + config.score_width
            score += locations * (256 * (cells // 2) ** 2 * 512 + hidden)
            mask += area // 256 * reduce
    per_window = config.rank * config.mask_size**2
    if config.score_head == "pooled":
        per_window += code_length
    return {"trunk": trunk, "score": score, "mask": mask + windows * per_window}


def test_the_shipped_models_are_counted_window_by_window() -> None:
    """Each of two mask stages has half of the windows; int8 multiplies as much as float32."""
    for name in shipped_names():
        folder = shipped_model(name)
        manifest = load_manifest(folder)
        views = plan_views(480, 640, manifest.views.scales.factors(), manifest.views)
        few, many = (plan_gflop(folder, manifest, views, count) for count in (20, 1020))
        assert few["score"] == many["score"] == pytest.approx(37.0, abs=0.1)
        gained = [many[stage] - few[stage] for stage in ("mask-a", "mask-b")]
        assert gained == pytest.approx([6.37, 11.11], abs=0.01)
