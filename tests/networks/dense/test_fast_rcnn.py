"""The exportable form of Fast R-CNN: its base's graphs, and boxes in a stage of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deepmask.export import parity
from deepmask.export.onnx_graph import to_onnx
from deepmask.export.predict import run_graph
from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.dense.fast_rcnn import dense_fast_rcnn, describe_fast_rcnn
from deepmask.networks.dense.fpn_lite import dense_fpn_lite
from deepmask.networks.dense.graphs import example_inputs, manifest_of
from deepmask.networks.fast_rcnn import FastRcnn
from deepmask.runtime.model.manifest import BOXES, Category
from tests.networks.tiny_fast_rcnn import OF_PYRAMID, OF_TRUNK

KINDS = pytest.mark.parametrize("config", [OF_PYRAMID, OF_TRUNK], ids=["pyramid", "trunk"])


def tamed(config: FastRcnnConfig) -> FastRcnn:
    """A small network whose names differ from box to box."""
    torch.manual_seed(0)
    network = FastRcnn(config).eval()
    for layer in (network.head.category, network.head.offset):
        torch.nn.init.normal_(layer.weight, std=0.5)
    return network


@pytest.mark.slow
@KINDS
@torch.no_grad()
def test_boxes_are_named_as_the_network_does(config: FastRcnnConfig, tmp_path: Path) -> None:
    """Also beside the picture; in a graph that every engine has the layers for."""
    network = tamed(config)
    dense = dense_fast_rcnn(network)
    sketch = manifest_of(dense, describe_fast_rcnn(config), name="named", about={})
    (graph,) = (one for one in dense.main.graphs if one.per == BOXES)
    model = to_onnx(graph, example_inputs(graph, sketch), 18, 128)
    onnx.save_model(model, tmp_path / "boxes.onnx")
    operators = {node.op_type for node in model.graph.node}
    assert "GridSample" in operators
    assert operators & {"If", "Loop", "Scan", "RoiAlign"} == set()

    sample = parity.samples(sketch)[2]
    boxes = torch.cat([sample.boxes, sample.boxes - 300, sample.boxes * 4])
    maps = network.maps(sample.canvas, network.base.features(sample.canvas))
    tensors = dict(zip(graph.inputs, [*maps, boxes], strict=True))
    made = run_graph(tmp_path, graph, {name: one.numpy() for name, one in tensors.items()})
    for name, value in zip(("class", "delta"), network.name(maps, boxes), strict=True):
        assert parity.relative_error(made[name], value.numpy()) < 1e-5


def test_the_base_keeps_its_graphs() -> None:
    """Beside a trunk for names, those of the network that proposes are its own."""
    network = tamed(OF_TRUNK)
    form, base = dense_fast_rcnn(network).main, dense_fpn_lite(network.base).main
    kept = [graph for graph in form.graphs if graph.name not in ("names", "boxes")]
    assert [graph.stage() for graph in kept] == [graph.stage() for graph in base.graphs]
    assert [type(graph.module) for graph in kept] == [type(graph.module) for graph in base.graphs]
    assert [graph.name for graph in form.graphs if graph.per == BOXES] == ["boxes"]


def test_model_json_says_what_the_labels_said() -> None:
    described = describe_fast_rcnn(OF_TRUNK)
    assert described.categories == (Category(1, "square"), Category(7, "disc"))
    assert described.label_score is not None


@KINDS
@torch.no_grad()
def test_maps_of_stages_are_what_the_network_reads(config: FastRcnnConfig) -> None:
    network = tamed(config)
    canvas = torch.rand(1, 3, 128, 256) * 255
    form = dense_fast_rcnn(network).main
    tensors = {"image": canvas, "boxes": torch.tensor([[3.0, 4.0, 90.0, 100.0]])}
    for graph in form.graphs:
        if graph.per != "windows":
            tensors |= graph.run(tensors)
    assert form.named is not None
    expected = form.named(canvas, tensors["boxes"])
    assert expected.keys() == {"class", "delta"}
    for name, value in expected.items():
        np.testing.assert_allclose(tensors[name], value, atol=1e-5)
