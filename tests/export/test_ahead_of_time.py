"""TensorRT for RTX parses, types and builds every graph with its real profiles, without a GPU.

This proves that the graphs are what a strongly typed TensorRT network can be made of, and that the
profiles hold. It says nothing about results or speed. Every kind of graph that a preset has is
built each time; all graphs of all presets, at full size and with all profiles, when asked for:

    DEEPMASK_FULL_SIZE=1 pytest tests/export/test_ahead_of_time.py -k full_size
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import platform
import signal
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx
import pytest

from deepmask.networks.anchors.config import AnchorConfig
from deepmask.networks.config import BORDER_FILL
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.networks.presets import PRESETS
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt import progress
from deepmask.runtime.engines.tensorrt.build import build_plan, strongly_typed, target_name
from deepmask.runtime.engines.tensorrt.flavours import Library, load_library
from deepmask.runtime.engines.tensorrt.graphs import stage_graph
from deepmask.runtime.engines.tensorrt.progress import share_done
from deepmask.runtime.model.half_graph import store_as_single
from deepmask.runtime.model.shipped import shipped_model
from tests.export.tensorrt_graphs import (
    Form,
    ends_of,
    export,
    graph_types,
    halved,
    shipped,
    smaller,
    symmetric,
)
from tests.networks.patch_presets import PATCH_PRESETS
from tests.networks.tiny_anchors import LIGHT_FASTER_RCNN, LIGHT_RETINANET, RPN
from tests.networks.tiny_fast_rcnn import OF_TRUNK
from tests.networks.tiny_fpn import TINY

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip(
        "tensorrt-rtx is not installed; it is a test dependency on Linux on x86-64, "
        f"this is {platform.system()} on {platform.machine()}",
        allow_module_level=True,
    )

#: Ampere (data centre and desktop), Ada, Blackwell. One plan holds all four. Turing is apart.
TARGETS = ("8.0", "8.6", "8.9", "12.0")
TURING = "7.5"
#: Every kind of graph that a preset has, see `kind`.
GRAPHS = [
    ("deepmask-r18", "trunk"),
    ("deepmask-r18", "score"),
    ("deepmask-r18", "mask"),
    ("deepmask-vgg-a", "trunk"),
    ("deepmask-vgg-a", "score"),
    ("deepmask-vgg-a", "mask"),
    ("deepmask-full", "mask"),
    ("w160-p4-d8-vgg", "trunk"),
    ("w112-p3-d21", "trunk"),
    ("deepmask-ours", "trunk"),
    ("deepmask-ours-head-a", "score"),
    ("deepmask-ours-head-b", "score"),
    ("deepmask-ours-head-b", "mask"),
    ("sharpmask", "trunk"),
    ("sharpmask", "mask"),
    ("sharpmask-r18", "trunk"),
    ("sharpmask-r18", "mask"),
]
ALL_GRAPHS = [(preset, name) for preset in PATCH_PRESETS for name in ("trunk", "score", "mask")]
FULL_SIZE = "DEEPMASK_FULL_SIZE"
#: The phase of a build that takes longest.
_TIMING = "Timing tactics"


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt-rtx")


def kind(config: DeepMaskConfig, name: str) -> tuple[object, ...]:
    """What decides which operations a graph is made of; the rest is sizes."""
    refined: tuple[object, ...] = ()
    if isinstance(config, SharpMaskConfig):
        refined = (config.padding, len(config.refine_widths))
    if name == "trunk":
        return (config.trunk, config.padding, *refined)
    if name == "score":
        return (config.score_head,)
    start = "code" if config.score_head == "shared" else "features"
    return (start, config.mask_head, *refined)


def network_types(library: Library, graph: bytes) -> Counter[str]:
    """How many convolutions and matrix products compute in each type in TensorRT's network.

    One whose input comes out of a dequantisation is int8: TensorRT fuses the two.
    """
    trt = library.module
    builder = trt.Builder(library.logger)
    network = builder.create_network(strongly_typed(trt))
    parser = trt.OnnxParser(network, library.logger)
    assert parser.parse(graph)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = trt.LayerType
    quantised = {one.get_output(0).name for one in layers if one.type == kinds.DEQUANTIZE}
    counted = (one for one in layers if one.type in (kinds.CONVOLUTION, kinds.MATRIX_MULTIPLY))
    inputs = [one.get_input(0) for one in counted]
    return Counter("INT8" if one.name in quantised else one.dtype.name for one in inputs)


def check_builds(library: Library, form: Form, model: onnx.ModelProto) -> Counter[str]:
    """Build without a warning, each layer in the type that the graph gives it; returns these."""
    graph = model.SerializeToString()
    plan, warnings = build_plan(library, graph, form.stage.name, form.profiles, TARGETS)
    assert len(plan) > 1000
    assert warnings == []  # but for the harmless
    types = graph_types(model)
    assert network_types(library, graph) == types
    return types


def check_floats(library: Library, form: Form) -> None:
    """In fp32 every layer, in fp16 all but the last two of a score, on each level that has it."""
    whole = check_builds(library, form, form.model)
    assert set(whole) == {"FLOAT"}
    roles = ("score", "hidden_score")
    names = {name for role in roles for name in form.stage.layers.get(role, ())}
    uses = sum(name in names for node in form.model.graph.node for name in node.input)
    spared = max(len(names), uses)
    found = check_builds(library, form, halved(form))
    assert found.total() == whole.total()
    assert found["HALF"] >= 1
    assert found["FLOAT"] <= spared


@pytest.mark.parametrize(("preset", "name"), GRAPHS)
def test_every_kind_of_graph_builds_in_fp32_and_fp16(
    library: Library, preset: str, name: str
) -> None:
    form = export(smaller(PRESETS[preset].config), name)
    check_floats(library, form if preset == "deepmask-r18" else ends_of(form))


@pytest.mark.parametrize("name", ["score", "mask-a", "mask-b", "names"])
def test_the_shipped_graphs_build_in_fp32_and_fp16(library: Library, name: str) -> None:
    """Also with an integer table between graphs, and tables of any number of rows."""
    form = ends_of(shipped(name))
    store_as_single(form.model)
    check_floats(library, form)


@pytest.mark.parametrize("name", ["score", "mask-a", "mask-b", "names", "boxes"])
def test_the_shipped_files_build_as_they_are(library: Library, name: str) -> None:
    """Their weights are float16 behind a Cast, and inputs of layers to the parser.

    The builder folds them: the plan is as large as that of float32 weights.
    """
    form = replace(shipped(name), profiles=shipped(name).profiles[:1])
    path = shipped_model() / form.stage.file
    store_as_single(form.model)
    sizes = []
    for graph in (stage_graph(path, form.stage), form.model.SerializeToString()):
        plan, warnings = build_plan(library, graph, name, form.profiles, TARGETS)
        assert warnings == []
        sizes.append(len(plan))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


@pytest.mark.parametrize("name", ["score", "mask-a", "mask-b"])
def test_the_shipped_graphs_build_for_turing(library: Library, name: str) -> None:
    """In float16, and the score in float32 too: no float32 products of matrices there (1.7.1)."""
    form = shipped(name)
    store_as_single(form.model)
    smallest = form.profiles[:1]
    for model in (form.model, halved(form)):
        content = model.SerializeToString()
        if model is form.model and name != "score":
            with pytest.raises(EngineError, match=r"FP32 GEMM is not supported.*--engine tensorrt"):
                build_plan(library, content, name, smallest, [TURING])
        else:
            assert build_plan(library, content, name, smallest, [TURING])[1] == []


@pytest.mark.slow
@pytest.mark.skipif(FULL_SIZE not in os.environ, reason=f"takes ten minutes: set {FULL_SIZE}=1")
@pytest.mark.parametrize(("preset", "name"), ALL_GRAPHS)
def test_every_graph_builds_at_full_size(library: Library, preset: str, name: str) -> None:
    check_floats(library, export(PRESETS[preset].config, name))


def test_int8_builds_from_the_symmetric_form(library: Library) -> None:
    form = shipped("score")
    store_as_single(form.model)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 3, 224, 224)).astype(np.float32)
    model = symmetric(form, {"image": picture})
    built = check_builds(library, form, model)
    assert set(built) == {"INT8", "FLOAT"}
    assert built["FLOAT"] == 5, "the layer that scores, once a level"


def test_an_int8_vgg_a_builds_from_the_symmetric_form(library: Library) -> None:
    """Cells repeated and a frame around them, which the ResNet's trunk has not."""
    form = ends_of(export(PRESETS["deepmask-vgg-a"].config, "trunk"))
    canvas = np.full((1, 3, 320, 352), BORDER_FILL, np.float32)
    canvas[:, :, 128:-128, 128:-128] = np.random.default_rng(0).uniform(0, 255, (64, 96))
    assert check_builds(library, form, symmetric(form, {"image": canvas})) == {"INT8": 8}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("deepmask-vgg-a", {"INT8": 2, "FLOAT": 1}), ("deepmask-r18", {"INT8": 2, "FLOAT": 2})],
)
def test_an_int8_score_builds_from_the_symmetric_form(
    library: Library, preset: str, expected: dict[str, int]
) -> None:
    """What gives the code for masks keeps it in float32, and so the layer that reads it."""
    config = smaller(PRESETS[preset].config)
    form = ends_of(export(config, "score"))
    features = np.random.default_rng(0).random((1, config.features, 20, 24), np.float32)
    assert check_builds(library, form, symmetric(form, {"features": features})) == expected


def test_int8_masks_of_the_features_build_from_the_symmetric_form(library: Library) -> None:
    """The convolution and the product that are quantised, and the last layer, which is not."""
    form = ends_of(export(PRESETS["deepmask-ours-head-b"].config, "mask"))
    features = np.random.default_rng(0).random((1, 1024, 14, 14), np.float32)
    model = symmetric(form, {"features": features, "locations": np.zeros((1, 2), np.int64)})
    assert check_builds(library, form, model) == {"INT8": 2, "FLOAT": 1}


@pytest.mark.parametrize("name", ["score", "mask-a", "mask-b"])
def test_graphs_with_tables_build_in_fp32_and_fp16(library: Library, name: str) -> None:
    """Tables of any length, a layout of integers, and joined scores in float32."""
    form = ends_of(export(TINY, name))
    whole = check_builds(library, form, form.model)
    assert set(whole) == {"FLOAT"}
    found = check_builds(library, form, halved(form))
    assert found.total() == whole.total()
    assert found["FLOAT"] == (5 if name == "score" else 0)  # the last layer, on five levels


@pytest.mark.parametrize("name", ["names", "boxes"])
def test_graphs_that_name_boxes_build(library: Library, name: str) -> None:
    """A trunk of its own; cells of boxes by GridSample, which needs no plugin."""
    form = ends_of(export(OF_TRUNK, name))
    assert set(check_builds(library, form, form.model)) == {"FLOAT"}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LIGHT_RETINANET, "anchors"),
        (LIGHT_FASTER_RCNN, "anchors"),
        (LIGHT_FASTER_RCNN, "boxes"),
        (RPN, "anchors"),
    ],
)
def test_graphs_of_anchors_build(library: Library, config: AnchorConfig, name: str) -> None:
    """Also in float16, but for the layers that end in scores and offsets, on five levels."""
    form = ends_of(export(config, name))
    whole = check_builds(library, form, form.model)
    assert set(whole) == {"FLOAT"}
    if name == "anchors":
        found = check_builds(library, form, halved(form))
        assert found["FLOAT"] == 2 * 5
        assert found.total() == whole.total()


def test_every_preset_is_made_of_graphs_that_are_built() -> None:
    def kinds(graphs: Iterable[tuple[str, str]]) -> set[object]:
        return {(name, *kind(PRESETS[preset].config, name)) for preset, name in graphs}

    assert kinds(GRAPHS) == kinds(ALL_GRAPHS)


def test_targets_are_those_that_rtx_knows(library: Library) -> None:
    names = [target_name(library.module, one) for one in TARGETS]
    assert names == ["SM80", "SM86", "SM89", "SM120"]
    with pytest.raises(EngineError, match=r"cannot build for SM90; it can for SM75, SM80, .*SM120"):
        target_name(library.module, "9.0")


def test_ctrl_c_ends_a_build(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before TensorRT comes to what takes the time, as it does if it is left alone."""
    form = shipped("score")
    content, smallest = form.model.SerializeToString(), form.profiles[:1]

    def build_and_watch(interrupted_at: int) -> None:
        calls = itertools.count(1)

        def watched(phases: Mapping[str, tuple[int, int]]) -> float:
            seen.update(phases)
            if next(calls) == interrupted_at:
                signal.raise_signal(signal.SIGINT)
            return share_done(phases)

        seen: set[str] = set()
        monkeypatch.setattr(progress, "share_done", watched)
        try:
            build_plan(library, content, "score", smallest, TARGETS)
        finally:
            found.append(seen)

    found: list[set[str]] = []
    build_and_watch(0)
    with pytest.raises(KeyboardInterrupt):
        build_and_watch(10)
    undisturbed, stopped = found
    assert _TIMING in undisturbed
    assert _TIMING not in stopped
