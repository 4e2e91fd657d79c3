"""TensorRT for RTX parses, types and builds every graph with its real profiles, without a GPU.

This proves that the graphs are what a strongly typed TensorRT network can be made of, and that the
profiles hold. It says nothing about results or speed.
"""

from __future__ import annotations

import importlib.util
import platform
import signal
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deepmask.export.describe import describe
from deepmask.export.fp16 import convert_to_half
from deepmask.export.graphs import example_inputs, graph_sources
from deepmask.export.int8 import SYMMETRIC, quantise
from deepmask.export.onnx_graph import to_onnx
from deepmask.export.score import INTERLEAVINGS
from deepmask.export.trunk import fold_batchnorm
from deepmask.runtime.deepmask import shipped_model
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.manifest import Graph, load_manifest
from deepmask.runtime.pyramid import MAX_SIDE
from deepmask.runtime.tensorrt.build import Plan, build_plan, target_name
from deepmask.runtime.tensorrt.library import Library, load_library
from deepmask.runtime.tensorrt.profile import Profile, profiles
from deepmask.runtime.tensorrt.progress import Phases
from deepmask.train.config import MODEL_PRESETS, ModelConfig
from deepmask.train.model import DeepMask

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip(
        "tensorrt-rtx is not installed; it is a test dependency on Linux on x86-64, "
        f"this is {platform.system()} on {platform.machine()}",
        allow_module_level=True,
    )

#: Ampere (data centre and desktop), Ada, Blackwell. One plan holds all four.
TARGETS = ("8.0", "8.6", "8.9", "12.0")
#: Every form that a graph of a preset takes. The trunk and the score of deepmask-full are those of
#: deepmask-vgg-a; a pooled score head has two forms. sharpmask reflects in every convolution,
#: sharpmask-r18 pads with zeros.
FORMS = [
    ("deepmask-r18", "trunk", ""),
    ("deepmask-r18", "score", ""),
    ("deepmask-r18", "mask", ""),
    ("deepmask-vgg-a", "trunk", ""),
    *(("deepmask-vgg-a", "score", form) for form in INTERLEAVINGS),
    ("deepmask-vgg-a", "mask", ""),
    ("deepmask-full", "mask", ""),
    ("sharpmask", "trunk", ""),
    ("sharpmask", "mask", ""),
    ("sharpmask-r18", "mask", ""),
]


@dataclass(frozen=True)
class Form:
    """One graph with random weights, in float32, and the profiles that it gets."""

    name: str
    model: onnx.ModelProto
    profiles: list[Profile]


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt-rtx")


def config_of(preset: str) -> ModelConfig:
    """The preset; of deepmask-full's mask head, whose one weight is 1.3 GB, an eighth.

    Of sharpmask's ResNet-50, which takes a minute to build, a ResNet-18.
    """
    config = MODEL_PRESETS[preset]
    if config.trunk == "resnet50":
        return replace(config, trunk="resnet18")
    return replace(config, channels=64) if config.mask_head == "full" else config


def export(preset: str, name: str, interleaving: str) -> Form:
    torch.manual_seed(0)
    config = config_of(preset)
    sources = graph_sources(
        fold_batchnorm(DeepMask(config)), interleaving or INTERLEAVINGS[0], False
    )
    graphs = {
        key: Graph(f"{key}.onnx", "", one.inputs, one.outputs) for key, one in sources.items()
    }
    manifest = describe(config, graphs, name=preset, weights="fp32", opset=18, parity={})
    one, examples = sources[name], example_inputs(config)
    model = to_onnx(one.module, [examples[key] for key in one.inputs], one.inputs, one.outputs, 18)
    found = profiles(manifest, graphs[name], MAX_SIDE)
    # Each profile is built for itself. To save time the others get the smallest and the largest.
    chosen = found if preset == "deepmask-r18" else [found[0], found[-1]]
    return Form(name, model, chosen)


def halved(form: Form) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        onnx.save_model(form.model, source)
        convert_to_half(source, target, form.name)
        return onnx.load(target)


def build(library: Library, form: Form, model: onnx.ModelProto) -> Plan:
    graph = model.SerializeToString()
    return build_plan(library, graph, form.name, form.profiles, targets=TARGETS)


@pytest.mark.parametrize(("preset", "name", "interleaving"), FORMS)
def test_every_graph_builds_in_fp32_and_fp16(
    library: Library, preset: str, name: str, interleaving: str
) -> None:
    form = export(preset, name, interleaving)
    plan = build(library, form, form.model)
    assert len(plan.content) > 1000
    assert set(plan.layers) == {"fp32"}
    assert plan.warnings == ()  # but for `HARMLESS`

    half = build(library, form, halved(form))
    assert sum(half.layers.values()) == sum(plan.layers.values())
    assert half.layers["fp16"] >= half.layers.get("fp32", 0) or name == "score"
    assert name == "score" or set(half.layers) == {"fp16"}  # the score's last layers stay as is
    assert half.warnings == ()


def test_int8_builds_from_the_symmetric_form(library: Library, tmp_path: Path) -> None:
    folder = shipped_model()
    manifest = load_manifest(folder)
    graph = manifest.graphs["trunk"]
    picture = np.random.default_rng(0).uniform(0, 255, (1, 3, 224, 224)).astype(np.float32)
    target = tmp_path / "trunk.onnx"
    quantise(folder / graph.file, target, "trunk", [{"image": picture}], SYMMETRIC)
    shapes = profiles(manifest, graph, MAX_SIDE)
    plan = build_plan(library, target.read_bytes(), "trunk", shapes, targets=TARGETS)
    assert set(plan.layers) == {"int8"}
    assert plan.warnings == ()


def test_the_forms_are_those_of_the_papers_presets() -> None:
    full, vgg = MODEL_PRESETS["deepmask-full"], MODEL_PRESETS["deepmask-vgg-a"]
    assert replace(full, mask_head="low-rank", rank=vgg.rank) == vgg
    covered = {(preset, name) for preset, name, _ in FORMS}
    assert {("deepmask-r18", name) for name in ("trunk", "score", "mask")} <= covered


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
    folder = shipped_model()
    manifest = load_manifest(folder)
    graph = manifest.graphs["trunk"]
    steps: list[str] = []

    def step(self: Phases, name: str, index: int) -> None:
        steps.append(name)
        if len(steps) == 10:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Phases, "step", step)
    content = (folder / graph.file).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        build_plan(library, content, "trunk", profiles(manifest, graph, MAX_SIDE), targets=TARGETS)
    assert "Timing tactics" not in steps  # what takes the time was not begun
