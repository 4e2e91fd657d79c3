"""Graphs of presets as TensorRT is given them: in float32, float16 and symmetric int8."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch

from deepmask.export.onnx_graph import to_onnx
from deepmask.export.precision.calibration import Feed
from deepmask.export.precision.int8 import SYMMETRIC, quantise
from deepmask.networks.config import NetworkConfig
from deepmask.networks.dense.graphs import canvas_multiple, example_inputs
from deepmask.networks.dense.trunk import fold_batchnorm
from deepmask.networks.families import build as build_network
from deepmask.networks.families import dense_model, describe
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.engines.tensorrt.profile import Profile, profiles
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.half_graph import half_form
from deepmask.runtime.model.manifest import Stage
from deepmask.runtime.model.shipped import shipped_model
from tests.export.float_graphs import sketch


@dataclass(frozen=True)
class Form:
    """One graph in float32, the stage that it is, and the profiles that it gets."""

    stage: Stage
    model: onnx.ModelProto
    profiles: list[Profile]


def smaller(config: DeepMaskConfig) -> DeepMaskConfig:
    """With an eighth of the full mask head, whose one weight is 1.3 GB."""
    return replace(config, channels=64) if config.mask_head == "full" else config


def export(config: NetworkConfig, name: str) -> Form:
    """A graph with all its profiles."""
    torch.manual_seed(0)
    folded = fold_batchnorm(build_network(config))
    dense = dense_model(folded)
    manifest = sketch(dense, describe(config))
    graph = next(one for one in dense.main.graphs if one.name == name)
    multiple = canvas_multiple(manifest.views)
    model = to_onnx(graph, example_inputs(graph, manifest), 18, multiple)
    stage = graph.stage()
    return Form(stage, model, profiles(manifest, stage, manifest.views.max_side))


def shipped(name: str) -> Form:
    """A graph of the shipped model."""
    folder = shipped_model()
    manifest = load_manifest(folder)
    stage = manifest.stage(name)
    model = onnx.load(folder / stage.file)
    return Form(stage, model, profiles(manifest, stage, manifest.views.max_side))


def converted(form: Form, convert: Callable[[Path, Path], None]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        onnx.save_model(form.model, source)
        convert(source, target)
        return onnx.load(target)


def halved(form: Form) -> onnx.ModelProto:
    return onnx.load_from_string(half_form(form.model.SerializeToString(), form.stage))


def symmetric(form: Form, feed: Feed) -> onnx.ModelProto:
    def convert(source: Path, target: Path) -> None:
        quantise(source, target, form.stage, [feed], SYMMETRIC)

    return converted(form, convert)


def ends_of(form: Form) -> Form:
    """With the smallest and the largest profile only: each is built for itself, and takes time."""
    return replace(form, profiles=[form.profiles[0], form.profiles[-1]])


def graph_types(model: onnx.ModelProto) -> Counter[str]:
    """How many convolutions and matrix products have weights of each type.

    One whose input comes out of a dequantisation is int8.
    """
    kinds = {1: "FLOAT", 3: "INT8", 10: "HALF"}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    counts = Counter[str]()
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            source, weight = makers.get(node.input[0]), makers.get(node.input[1])
            if source is not None and source.op_type == "DequantizeLinear":
                counts["INT8"] += 1
            elif weight is not None and weight.op_type == "Cast":
                counts[kinds[onnx.helper.get_node_attr_value(weight, "to")]] += 1
            else:
                counts[kinds[types[node.input[1]]]] += 1
    return counts
