"""TensorRT for RTX builds the graphs as TensorRT is given them: views painted, masks in float16."""

from __future__ import annotations

import importlib.util

import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.build import build_plan
from deepmask.runtime.engines.tensorrt.flavours import Library, load_library
from deepmask.runtime.engines.tensorrt.graphs import stage_graph, view_stage
from deepmask.runtime.engines.tensorrt.profile import profiles
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.shipped import find_model

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip("tensorrt-rtx is not installed", allow_module_level=True)

FOLDER = find_model(None)
MANIFEST = load_manifest(FOLDER)


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt-rtx")


def test_views_are_painted_but_on_turing(library: Library) -> None:
    """There TensorRT for RTX multiplies no float32 matrices: the processor paints views."""
    stage, graph = view_stage(MANIFEST)
    shapes = profiles(MANIFEST, stage, MANIFEST.views.max_side)
    plan, warnings = build_plan(library, graph, stage.name, shapes, ("8.6", "8.9", "12.0"))
    assert len(plan) > 1000
    assert warnings == []
    with pytest.raises(EngineError, match=r"cannot build graph resize: .*FP32 GEMM"):
        build_plan(library, graph, stage.name, shapes, ("7.5",))


def test_masks_come_out_as_float16(library: Library) -> None:
    trt = library.module
    stage = MANIFEST.window_stages[0]
    graph = stage_graph(FOLDER / stage.file, stage)
    network = trt.Builder(library.logger).create_network(0)
    parser = trt.OnnxParser(network, library.logger)
    assert parser.parse(graph)
    made = [network.get_output(index) for index in range(network.num_outputs)]
    assert {one.name: one.dtype for one in made} == {
        "mask": trt.DataType.HALF,
        "rank": trt.DataType.FLOAT,
    }
    shapes = profiles(MANIFEST, stage, MANIFEST.views.max_side)
    assert shapes[-1]["locations"].max[0] == 1024
    plan, warnings = build_plan(library, graph, stage.name, shapes, ("8.9",))
    assert len(plan) > 1000
    assert warnings == []
