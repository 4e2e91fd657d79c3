"""TensorRT for RTX parses, types and builds every graph with its real profiles, without a GPU.

This proves that the graphs are what a strongly typed TensorRT network can be made of, and that the
profiles hold. It says nothing about results or speed. Every kind of graph that a preset has is
built each time; all graphs of all presets, at full size and with all profiles, when asked for:

    DEEPMASK_FULL_SIZE=1 pytest tests/export/test_ahead_of_time.py -k full_size
"""

from __future__ import annotations

import importlib.util
import os
import platform
import signal
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deepmask.export.onnx_graph import to_onnx
from deepmask.export.precision.calibration import Feed
from deepmask.export.precision.fp16 import convert_to_half
from deepmask.export.precision.int8 import SYMMETRIC, quantise
from deepmask.export.weights import store_as_single
from deepmask.networks.config import BORDER_FILL
from deepmask.networks.dense.graphs import DenseOptions, example_inputs
from deepmask.networks.dense.score import INTERLEAVINGS
from deepmask.networks.dense.trunk import fold_batchnorm
from deepmask.networks.families import build as build_network
from deepmask.networks.families import dense_model, describe
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.networks.presets import PRESETS
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.build import Plan, build_plan, target_name
from deepmask.runtime.engines.tensorrt.flavours import Library, load_library
from deepmask.runtime.engines.tensorrt.onnx_types import marked_types
from deepmask.runtime.engines.tensorrt.precision import check_precision
from deepmask.runtime.engines.tensorrt.profile import Profile, profiles
from deepmask.runtime.engines.tensorrt.progress import Phases
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Stage
from deepmask.runtime.predict.deepmask import shipped_model
from tests.export.float_graphs import sketch

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip(
        "tensorrt-rtx is not installed; it is a test dependency on Linux on x86-64, "
        f"this is {platform.system()} on {platform.machine()}",
        allow_module_level=True,
    )

#: Ampere (data centre and desktop), Ada, Blackwell. One plan holds all four.
TARGETS = ("8.0", "8.6", "8.9", "12.0")
STAGES = ("trunk", "score", "mask")
#: Every kind of graph that a preset has, see `kind`; a pooled score head has two forms.
FORMS = [
    ("deepmask-r18", "trunk", ""),
    ("deepmask-r18", "score", ""),
    ("deepmask-r18", "mask", ""),
    ("deepmask-vgg-a", "trunk", ""),
    *(("deepmask-vgg-a", "score", form) for form in INTERLEAVINGS),
    ("deepmask-vgg-a", "mask", ""),
    ("deepmask-full", "mask", ""),
    ("w160-p4-d8-vgg", "trunk", ""),
    ("w112-p3-d21", "trunk", ""),
    ("w112-p4-d39", "score", ""),
    ("deepmask-ours", "trunk", ""),
    ("deepmask-ours-head-a", "score", ""),
    ("deepmask-ours-head-b", "score", ""),
    ("deepmask-ours-head-b", "mask", ""),
    ("sharpmask", "trunk", ""),
    ("sharpmask", "mask", ""),
    ("sharpmask-r18", "trunk", ""),
    ("sharpmask-r18", "mask", ""),
]
ALL_GRAPHS = [
    (preset, name, form)
    for preset, one in PRESETS.items()
    for name in STAGES
    for form in (INTERLEAVINGS if name == "score" and one.config.score_head == "pooled" else [""])
]
FULL_SIZE = "DEEPMASK_FULL_SIZE"
#: The phase of a build that takes longest.
_TIMING = "Timing tactics"


@dataclass(frozen=True)
class Form:
    """One graph in float32, and the profiles that it gets."""

    stage: Stage
    model: onnx.ModelProto
    profiles: list[Profile]

    @property
    def name(self) -> str:
        """The stage's."""
        return self.stage.name


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt-rtx")


def kind(config: DeepMaskConfig, name: str) -> tuple[object, ...]:
    """What decides which operations a graph is made of; the rest is sizes."""
    sharp = isinstance(config, SharpMaskConfig)
    refined = (config.padding, len(config.refine_widths)) if sharp else ()
    if name == "trunk":
        return (config.trunk, config.padding, *refined)
    if name == "score":
        return (config.score_head,)
    start = "code" if config.score_head == "shared" else "features"
    return (start, config.mask_head, *refined)


def smaller(config: DeepMaskConfig) -> DeepMaskConfig:
    """With an eighth of the full mask head, whose one weight is 1.3 GB."""
    return replace(config, channels=64) if config.mask_head == "full" else config


def export(config: DeepMaskConfig, name: str, interleaving: str) -> Form:
    """A graph with all its profiles."""
    torch.manual_seed(0)
    network = fold_batchnorm(build_network(config))
    dense = dense_model(network, DenseOptions(interleaving or None))
    manifest = sketch(dense, describe(config))
    (graph,) = (one for one in dense.main.graphs if one.name == name)
    model = to_onnx(graph, example_inputs(graph, manifest), 18)
    return Form(graph.stage(), model, profiles(manifest, graph.stage(), manifest.views.max_side))


def halved(form: Form) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        onnx.save_model(form.model, source)
        convert_to_half(source, target, form.stage)
        return onnx.load(target)


def symmetric(form: Form, feed: Feed) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        onnx.save_model(form.model, source)
        quantise(source, target, form.stage, [feed], SYMMETRIC)
        return onnx.load(target)


def ends_of(form: Form) -> Form:
    """With the smallest and the largest profile only: each is built for itself, and takes time."""
    return replace(form, profiles=[form.profiles[0], form.profiles[-1]])


def build(library: Library, form: Form, model: onnx.ModelProto) -> Plan:
    graph = model.SerializeToString()
    return build_plan(library, graph, form.name, form.profiles, targets=TARGETS)


def check_builds(library: Library, form: Form) -> None:
    """In fp32 and fp16, every layer in the type that it must have, and without a warning."""
    for precision, model in (("fp32", form.model), ("fp16", halved(form))):
        plan = build(library, form, model)
        assert len(plan.content) > 1000
        assert plan.warnings == ()  # but for `HARMLESS`
        marked = marked_types(model.SerializeToString())
        assert plan.layers == marked
        assert sum(marked.values()) >= 1
        check_precision(precision, {form.name: plan.layers})


@pytest.mark.parametrize(("preset", "name", "interleaving"), FORMS)
def test_every_kind_of_graph_builds_in_fp32_and_fp16(
    library: Library, preset: str, name: str, interleaving: str
) -> None:
    form = export(smaller(PRESETS[preset].config), name, interleaving)
    check_builds(library, form if preset == "deepmask-r18" else ends_of(form))


@pytest.mark.slow
@pytest.mark.skipif(FULL_SIZE not in os.environ, reason=f"takes ten minutes: set {FULL_SIZE}=1")
@pytest.mark.parametrize(("preset", "name", "interleaving"), ALL_GRAPHS)
def test_every_graph_builds_at_full_size(
    library: Library, preset: str, name: str, interleaving: str
) -> None:
    check_builds(library, export(PRESETS[preset].config, name, interleaving))


def test_int8_builds_from_the_symmetric_form(library: Library) -> None:
    folder = shipped_model()
    manifest = load_manifest(folder)
    stage = manifest.stage("trunk")
    model = onnx.load(folder / stage.file)
    store_as_single(model)
    form = Form(stage, model, profiles(manifest, stage, manifest.views.max_side))
    picture = np.random.default_rng(0).uniform(0, 255, (1, 3, 224, 224)).astype(np.float32)
    plan = build(library, form, symmetric(form, {"image": picture}))
    assert set(plan.layers) == {"int8"}
    assert plan.warnings == ()


def test_an_int8_vgg_a_builds_from_the_symmetric_form(library: Library) -> None:
    """Cells repeated and a frame around them, which the ResNet's trunk has not."""
    form = ends_of(export(PRESETS["deepmask-vgg-a"].config, "trunk", ""))
    canvas = np.full((1, 3, 320, 352), BORDER_FILL, np.float32)
    canvas[:, :, 128:-128, 128:-128] = np.random.default_rng(0).uniform(0, 255, (64, 96))
    plan = build(library, form, symmetric(form, {"image": canvas}))
    assert plan.layers == {"int8": 8}
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("deepmask-vgg-a", {"int8": 2, "fp32": 1}), ("deepmask-r18", {"int8": 2, "fp32": 2})],
)
def test_an_int8_score_builds_from_the_symmetric_form(
    library: Library, preset: str, expected: dict[str, int]
) -> None:
    """What gives the code for masks keeps it in float32, and so the layer that reads it."""
    config = smaller(PRESETS[preset].config)
    form = ends_of(
        export(config, "score", INTERLEAVINGS[0] if config.score_head == "pooled" else "")
    )
    features = np.random.default_rng(0).random((1, config.features, 20, 24), np.float32)
    model = symmetric(form, {"features": features})
    plan = build(library, form, model)
    assert plan.layers == marked_types(model.SerializeToString()) == expected
    assert plan.warnings == ()
    check_precision("int8-symmetric", {"score": plan.layers})


def test_int8_masks_of_the_features_build_from_the_symmetric_form(library: Library) -> None:
    """The convolution and the product that are quantised, and the last layer, which is not."""
    form = ends_of(export(PRESETS["deepmask-ours-head-b"].config, "mask", ""))
    features = np.random.default_rng(0).random((1, 1024, 14, 14), np.float32)
    model = symmetric(form, {"features": features, "locations": np.zeros((1, 2), np.int64)})
    plan = build(library, form, model)
    assert plan.layers == marked_types(model.SerializeToString()) == {"int8": 2, "fp32": 1}
    assert plan.warnings == ()


def test_every_preset_is_made_of_graphs_that_are_built() -> None:
    def kinds(graphs: Iterable[tuple[str, str, str]]) -> set[object]:
        return {(name, *kind(PRESETS[preset].config, name), form) for preset, name, form in graphs}

    assert kinds(FORMS) == kinds(ALL_GRAPHS)
    assert {preset for preset, _, _ in ALL_GRAPHS} == set(PRESETS)


def test_a_graph_that_is_no_graph_is_refused_in_one_line(library: Library) -> None:
    with pytest.raises(EngineError, match=r"tensorrt-rtx .* graph trunk: ") as caught:
        build_plan(library, b"\0 no graph", "trunk", [], targets=TARGETS)
    assert "\n" not in str(caught.value)


def test_targets_are_those_that_rtx_knows(library: Library) -> None:
    assert [target_name(library.module, one) for one in TARGETS] == [
        "SM80",
        "SM86",
        "SM89",
        "SM120",
    ]
    with pytest.raises(EngineError, match=r"cannot build for SM90; it can for SM75, SM80, .*SM120"):
        target_name(library.module, "9.0")


def test_ctrl_c_ends_a_build(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before TensorRT comes to what takes the time, as it does if it is left alone."""
    folder = shipped_model()
    manifest = load_manifest(folder)
    stage = manifest.stage("trunk")
    content = (folder / stage.file).read_bytes()
    smallest = profiles(manifest, stage, manifest.views.max_side)[:1]

    def build_and_watch(steps: list[str], interrupted_at: int) -> None:
        def step(self: Phases, name: str, index: int) -> None:
            steps.append(name)
            if len(steps) == interrupted_at:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Phases, "step", step)
        build_plan(library, content, "trunk", smallest, targets=TARGETS)

    undisturbed, stopped = list[str](), list[str]()
    build_and_watch(undisturbed, 0)
    assert _TIMING in undisturbed
    with pytest.raises(KeyboardInterrupt):
        build_and_watch(stopped, 10)
    assert _TIMING not in stopped
