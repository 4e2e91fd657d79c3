"""What is quantised of a graph, what is spared, and by which ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepmask.export.precision.calibration import covering
from deepmask.export.precision.int8 import (
    QUANTISED_FORMS,
    count_quantised,
    quantise,
    quantised_nodes,
)
from deepmask.networks.families import dense_model, describe
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.model.manifest import VIEW, Stage, TensorSpec
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import plan_views
from tests.export.conftest import (
    FULL_LIKE,
    HEAD_A,
    PAPER_LIKE,
    TINY,
    TINY_SHARP,
    VGG_LIKE,
    random_model,
)
from tests.export.float_graphs import graphs_of, random_feed, sketch


@pytest.mark.parametrize("form", ["int8", "int8-symmetric"])
def test_pooled_score_heads_are_quantised(form: str, tmp_path: Path) -> None:
    score = graphs_of(PAPER_LIKE, tmp_path, "score")["score"]
    full = onnxruntime.InferenceSession(str(score.path))
    feed = random_feed(full)
    quantise(score.path, tmp_path / "int8.onnx", score.stage, [feed], form)
    onnx.checker.check_model(tmp_path / "int8.onnx", full_check=True)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    weights = {tensor.name for tensor in graph.initializer}
    layers = [node.input[1] for node in graph.node if node.op_type == "Conv"]
    spared = [layer for layer in layers if layer in weights]
    assert spared == ["classify.weight"]
    (expected,) = full.run(None, feed)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx")).run(None, feed)
    assert 0 < np.abs(found - expected).max() < 0.1 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("form", ["int8", "int8-symmetric"])
@pytest.mark.parametrize(
    ("config", "name"),
    [(PAPER_LIKE, "mask"), (HEAD_A, "mask"), (HEAD_A, "coarse_mask")],
    ids=["low-rank", "refined", "coarse"],
)
def test_windows_of_features_are_gathered_and_multiplied_as_integers(
    config: DeepMaskConfig, name: str, form: str, tmp_path: Path
) -> None:
    """1×1 convolution and product; what is behind the code stays in float32."""
    written = graphs_of(config, tmp_path, name)[name]
    feed = random_feed(onnxruntime.InferenceSession(str(written.path)))
    quantise(written.path, tmp_path / "int8.onnx", written.stage, [feed], form)
    onnx.checker.check_model(tmp_path / "int8.onnx", full_check=True)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(layers) >= 3
    for layer in layers[:2]:
        values, weight = (made_by[key] for key in layer.input[:2])
        assert values.op_type == weight.op_type == "DequantizeLinear"
        assert weights[weight.input[0]].data_type == TensorProto.INT8
    for layer in layers[2:]:
        assert layer.input[1] in weights
        assert made_by[layer.input[0]].op_type != "DequantizeLinear"
    (expected,) = onnxruntime.InferenceSession(str(written.path)).run(None, feed)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = onnxruntime.InferenceSession(
        str(tmp_path / "int8.onnx"), options, providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, feed)
    error = np.abs(found - expected)
    assert 0 < error.max() < 0.1 * max(1, np.abs(expected).max())
    if form == "int8":
        kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        assert "QLinearConv" in kinds[: kinds.index("Gather")]
        assert "QGemm" in kinds[kinds.index("Gather") :]
        assert "DequantizeLinear" not in kinds


def test_masks_that_stay_in_float32(tmp_path: Path) -> None:
    """Of a code; the full head's, whose product is its last; those whose stage says nothing."""
    for config in (TINY, FULL_LIKE):
        mask = graphs_of(config, tmp_path, "mask")["mask"]
        assert quantised_nodes(mask.model, mask.stage, "int8") == []
    mask = graphs_of(PAPER_LIKE, tmp_path, "mask")["mask"]
    assert quantised_nodes(mask.model, mask.stage, "int8")
    assert quantised_nodes(mask.model, replace(mask.stage, layers={}), "int8") == []


CLASSIFY = ({"classify.weight"}, {"classify.weight"})
#: Layers of a network that int8 and int8-symmetric leave in float32, by stage: the weights of its
#: convolutions and products; all of a stage where nothing is quantised.
JOINS = {f"refine.skips.{level}.join.weight" for level in range(4)}
LEFT: dict[str, tuple[DeepMaskConfig, dict[str, tuple[set[str], set[str]]]]] = {
    "code to masks": (
        TINY,
        {
            "trunk": (set(), set()),
            "score": ({"classify.weight"}, {"classify.weight", "widen.weight"}),
            "mask": CLASSIFY,
        },
    ),
    "refined": (TINY_SHARP, {"trunk": (JOINS, set()), "coarse_mask": CLASSIFY}),
    "pooled": (VGG_LIKE, {"trunk": (set(), set()), **dict.fromkeys(("score", "mask"), CLASSIFY)}),
    "refined, head A": (
        HEAD_A,
        {"trunk": (JOINS, set()), "score": CLASSIFY, "coarse_mask": CLASSIFY},
    ),
    "full": (FULL_LIKE, {"score": CLASSIFY, "mask": ({"reduce.weight", "encode.weight"},) * 2}),
}


@pytest.mark.parametrize(("config", "left"), LEFT.values(), ids=LEFT)
def test_layers_that_stay_in_float32(
    config: DeepMaskConfig, left: dict[str, tuple[set[str], set[str]]], tmp_path: Path
) -> None:
    """And no others, in no stage of any kind of network."""
    for name, written in graphs_of(config, tmp_path, *left).items():
        layers = {
            node.name: node.input[1]
            for node in written.model.graph.node
            if node.op_type in ("Conv", "Gemm", "MatMul")
        }
        for form, expected in zip(QUANTISED_FORMS, left[name], strict=True):
            chosen = quantised_nodes(written.model, written.stage, form)
            assert {layers[one] for one in layers.keys() - set(chosen)} == expected, (name, form)


def test_covering_windows_hold_every_cell_that_a_window_can() -> None:
    """The symmetric form measures what was gathered, and nothing else."""
    dense = dense_model(random_model(TINY))
    manifest = sketch(dense, describe(TINY))
    (grid,), cells = manifest.grids, TINY.cells
    for height, width in ((1, 1), (64, 70), (100, 333)):
        (view,) = plan_views(height, width, [1.0], manifest.views)
        rows, cols = location_counts(view, grid)
        seen = np.zeros((rows + cells - 1, cols + cells - 1), np.bool_)
        for row, col in covering(view, manifest, manifest.stage("mask").inputs["locations"], (0,)):
            assert 0 <= row < rows
            assert 0 <= col < cols
            seen[row : row + cells, col : col + cells] = True
        assert seen.all()


def test_the_symmetric_form_leaves_the_code_as_it_is(tmp_path: Path) -> None:
    """Masks are made of it."""
    score = graphs_of(TINY, tmp_path, "score")["score"]
    feed = random_feed(onnxruntime.InferenceSession(str(score.path)))
    quantise(score.path, tmp_path / "int8.onnx", score.stage, [feed], "int8-symmetric")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    (maker,) = [node for node in graph.node if "code" in node.output]
    assert maker.op_type == "Conv"


@pytest.mark.parametrize(
    "config",
    [TINY_SHARP, replace(TINY_SHARP, sharp_size=32), HEAD_A, VGG_LIKE],
    ids=["sharp", "half-sharp", "sharp-of-features", "vgg-a"],
)
def test_openvino_is_as_near_to_float32_as_onnxruntime(
    config: DeepMaskConfig, tmp_path: Path
) -> None:
    """It rearranges the quantised graph before it computes, and one rearrangement is wrong."""
    engine = pytest.importorskip("deepmask.runtime.engines.openvino")
    int8 = tmp_path / "int8.onnx"
    for written in graphs_of(config, tmp_path).values():
        if not quantised_nodes(written.model, written.stage, "int8"):
            continue
        full = onnxruntime.InferenceSession(str(written.path))
        feed = random_feed(full)
        quantise(written.path, int8, written.stage, [feed], "int8")
        hint = {"INFERENCE_PRECISION_HINT": engine.FLOAT32}
        compiled = engine.ov.compile_model(int8, "CPU", hint)
        expected = full.run(None, feed)
        runs = onnxruntime.InferenceSession(str(int8)).run(None, feed), compiled(feed).values()
        ours, theirs = ([rms(f - e) for f, e in zip(run, expected, strict=True)] for run in runs)
        assert min(ours) > 0
        assert all(other < 1.2 * one for one, other in zip(ours, theirs, strict=True))


def rms(values: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values).mean()))


@pytest.mark.parametrize("form", ["int8", "int8-symmetric"])
def test_ranges_are_the_mean_of_all_feeds(form: str, tmp_path: Path) -> None:
    """Of one that reaches 1 and one that reaches 3: the scale is that of 2."""
    helper, single = onnx.helper, TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["features"], name="conv")],
        "trunk",
        [helper.make_tensor_value_info("image", single, [1, 1, "h", "w"])],
        [helper.make_tensor_value_info("features", single, [1, 1, "h", "w"])],
        [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "weight")],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "a.onnx")
    feeds = [{"image": np.array([[[[0, top]]]], np.float32)} for top in (1, 3)]
    axes = (1, 1, "height", "width")
    image, features = (TensorSpec(role, "float32", axes) for role in ("image", "map"))
    stage = Stage("trunk", "a.onnx", "", VIEW, {"image": image}, {"features": features}, {})
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", stage, feeds, form)
    quantised = onnx.load(tmp_path / "b.onnx").graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.initializer}
    [first] = [node for node in quantised.node if node.input[0] == "image"]
    steps = 255 if form == "int8" else 127
    assert values[first.input[1]] == pytest.approx(2 / steps, rel=1e-6)


def test_layers_that_compute_on_integers_are_counted() -> None:
    """Of those with weights: a product of two tensors that are computed has none."""
    weight = numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "weight")
    nodes = [
        helper.make_node("DequantizeLinear", ["stored", "scale"], ["read"]),
        helper.make_node("Conv", ["image", "read"], ["a"]),
        helper.make_node("Conv", ["a", "weight"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["c"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "graph", [], [], [weight]))
    assert count_quantised(model) == (1, 2)
