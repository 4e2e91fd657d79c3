"""The exportable form of Fast R-CNN: its base's graphs, and boxes in a stage of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deepmask.export.exporter import export_model
from deepmask.export.options import ExportOptions
from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.dense.fast_rcnn import dense_fast_rcnn, describe_fast_rcnn
from deepmask.networks.dense.fpn_lite import dense_fpn_lite
from deepmask.networks.fast_rcnn import FastRcnn
from deepmask.runtime.model.manifest import BOXES, Category
from deepmask.train.checkpoint import Checkpoint, save_checkpoint
from tests.networks.tiny_fast_rcnn import OF_PYRAMID, OF_TRUNK

KINDS = pytest.mark.parametrize("config", [OF_PYRAMID, OF_TRUNK], ids=["pyramid", "trunk"])


def tamed(config: FastRcnnConfig) -> FastRcnn:
    """A small network whose names differ from box to box."""
    torch.manual_seed(0)
    network = FastRcnn(config).eval()
    for layer in (network.head.category, network.head.offset):
        torch.nn.init.normal_(layer.weight, std=0.5)
    return network


@KINDS
def test_an_export_names_boxes_as_the_network_does(config: FastRcnnConfig, tmp_path: Path) -> None:
    network = tamed(config)
    checkpoint = tmp_path / "named.pt"
    save_checkpoint(Checkpoint(config, network.state_dict(), {}), checkpoint)
    manifest = export_model(checkpoint, tmp_path / "model", ExportOptions(weights="fp32"))
    assert manifest.categories == (Category(1, "square"), Category(7, "disc"))
    (stage,) = manifest.box_stages
    assert [spec.axes for spec in stage.outputs.values()] == [("n", 3), ("n", 2, 4)]
    measured = manifest.about["parity"]["pictures"]
    assert all(one["names"] < 1e-4 for one in measured)
    operators = {node.op_type for node in onnx.load(tmp_path / "model" / "boxes.onnx").graph.node}
    assert "GridSample" in operators
    assert operators & {"If", "Loop", "Scan", "RoiAlign"} == set()


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
