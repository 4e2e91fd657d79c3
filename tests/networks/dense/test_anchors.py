"""The exportable form of networks with anchors: the runtime reads what training learned."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from deepmask import DeepMask
from deepmask.export import parity
from deepmask.export.onnx_graph import to_onnx
from deepmask.networks.anchors.boxes import anchor_boxes, flat
from deepmask.networks.anchors.config import (
    AnchorConfig,
    FasterRcnnConfig,
    RetinaNetConfig,
    RpnConfig,
)
from deepmask.networks.boxes.offsets import decode
from deepmask.networks.dense.anchors import (
    dense_faster_rcnn,
    dense_retinanet,
    dense_rpn,
    describe_faster_rcnn,
    describe_retinanet,
    describe_rpn,
)
from deepmask.networks.dense.graphs import (
    DenseModel,
    Description,
    canvas_multiple,
    example_inputs,
    manifest_of,
)
from deepmask.networks.dense.trunk import fold_batchnorm
from deepmask.networks.faster_rcnn import FasterRcnn
from deepmask.networks.network import Network
from deepmask.networks.retinanet import RetinaNet
from deepmask.networks.rpn import Rpn
from deepmask.runtime.model.folder import load_manifest, with_checksums, write_manifest
from deepmask.runtime.model.manifest import Category
from deepmask.runtime.views.grids import window_boxes
from deepmask.runtime.views.views import plan_views, render_view
from tests.networks import tiny_anchors as tiny

NetworkType = TypeVar("NetworkType", bound=Network)
Built = tuple[Network, DenseModel, DenseModel, Description]
LIGHT: dict[str, AnchorConfig] = {
    "rpn": tiny.LIGHT,
    "retinanet": tiny.LIGHT_RETINANET,
    "faster-rcnn": tiny.LIGHT_FASTER_RCNN,
}
RESNETS: dict[str, AnchorConfig] = {
    "rpn": tiny.RPN,
    "retinanet": tiny.RETINANET,
    "faster-rcnn": tiny.FASTER_RCNN,
}


def built(config: AnchorConfig) -> Built:
    """A network whose anchors differ, what is exported of it, and what that must equal."""
    torch.manual_seed(0)
    if isinstance(config, RetinaNetConfig):
        retinanet = lively(RetinaNet(config))
        first, second = (dense_retinanet(one) for one in (fold_batchnorm(retinanet), retinanet))
        return retinanet, first, second, describe_retinanet(config)
    if isinstance(config, FasterRcnnConfig):
        faster = lively(FasterRcnn(config))
        first, second = (dense_faster_rcnn(one) for one in (fold_batchnorm(faster), faster))
        return faster, first, second, describe_faster_rcnn(config)
    assert isinstance(config, RpnConfig)
    rpn = lively(Rpn(config))
    first, second = (dense_rpn(one) for one in (fold_batchnorm(rpn), rpn))
    return rpn, first, second, describe_rpn(config)


def lively(network: NetworkType) -> NetworkType:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.2)
    network.eval()
    return network


def written(config: AnchorConfig, folder: Path) -> Network:
    """Write the model folder; fail where it differs from the network."""
    network, dense, reference, description = built(config)
    sketch = manifest_of(dense, description, name="tiny", about={})
    for graph in dense.files():
        model = to_onnx(graph, example_inputs(graph, sketch), 18, canvas_multiple(sketch.views))
        onnx.save_model(model, folder / f"{graph.file}.onnx")
    deviations, _ = parity.compare(folder, sketch, dense, reference)
    parity.require_parity(deviations)
    for one in deviations:
        assert (one.masks, one.names is None) == (None, len(dense.files()) == 1)
        assert one.offsets is not None
        assert one.locations > 300
    table = parity.as_table(deviations, [])
    assert "offsets" in table
    assert "masks" not in table
    write_manifest(with_checksums(sketch, folder), folder)
    load_manifest(folder)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("config", [LIGHT["retinanet"], RESNETS["faster-rcnn"]])
def test_the_runtime_finds_the_boxes_that_training_means(
    config: AnchorConfig, tmp_path: Path
) -> None:
    """The best box of all anchors, decoded as in training, is the first of the runtime's."""
    network = written(config, tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (256, 384, 3), np.uint8)
    with DeepMask.load(tmp_path, engine="onnxruntime", device="cpu", threads=1) as model:
        found = model(picture, proposals=5, labels=False)
        [view] = plan_views(256, 384, (1.0,), model.manifest.views)
        canvas = torch.from_numpy(render_view(picture, view, model.manifest.views))
    assert isinstance(network, Rpn | RetinaNet | FasterRcnn)
    with torch.no_grad():
        anchored = network.dense(canvas)
    count = len(network.config.levels()[0].sizes)
    logits = flat(anchored.logits, anchored.logits[0].shape[1] // count)[0].max(1).values
    offsets = flat(anchored.offsets, 4)[0]
    anchors = torch.cat(
        [
            anchor_boxes(level, *one.shape[2:])
            for level, one in zip(network.config.levels(), anchored.logits, strict=True)
        ]
    )
    best = int(logits.argmax())
    corners = decode(anchors[[best]], offsets[[best]])[0].numpy().reshape(2, 2)
    low, high = np.clip(corners / (view.ratio_x, view.ratio_y), 0, (384, 256))
    assert_allclose(found.boxes[0], [*low, *(high - low)], atol=0.02)
    assert_allclose(found.scores[0], 1 / (1 + np.exp(-logits[best].item())), rtol=1e-4)


@pytest.mark.parametrize("config", [*LIGHT.values(), *RESNETS.values()])
def test_the_windows_are_the_anchors(config: AnchorConfig) -> None:
    """Every grid's, in the order of the maps' channels; those of a category follow each other."""
    _, dense, _, described = built(config)
    height, width = 256, 384
    [view] = plan_views(height, width, (1.0,), described.views, width)
    outputs = dense.main.graphs[0].outputs
    names = described.categories if isinstance(config, RetinaNetConfig) else None
    scores = len(names or [None])
    for level in config.levels():
        rows, cols = height // level.stride, width // level.stride
        expected = anchor_boxes(level, rows, cols).numpy().reshape(-1, rows, cols, 4)
        grids = [one for one in described.grids if one.score == f"score{level.stride}"]
        assert [one.channel for one in grids] == [k * scores for k in range(len(level.sizes))]
        assert [one.delta_channel for one in grids] == [4 * k for k in range(len(level.sizes))]
        assert outputs[grids[0].score].axes[1] == len(grids) * scores
        assert outputs[str(grids[0].delta)].axes[1] == len(grids) * 4
        for grid, anchors in zip(grids, expected, strict=True):
            row, col = (index.ravel() for index in np.indices((rows, cols)))
            boxes = window_boxes(row, col, [grid] * len(row), [view] * len(row))
            x0, y0, x1, y1 = anchors.reshape(-1, 4).T
            assert_allclose(boxes.T, [y0, x0, y1 - y0, x1 - x0], atol=1e-3)


def test_model_json_says_what_the_labels_said() -> None:
    both = (Category(1, "square"), Category(7, "disc"))
    for kind in ("retinanet", "faster-rcnn"):
        described = built(LIGHT[kind])[3]
        assert described.categories == both
        assert described.label_score == 0.05
    assert built(LIGHT["rpn"])[3].categories is None
    overlaps = [built(LIGHT[kind])[3].overlap for kind in ("rpn", "retinanet", "faster-rcnn")]
    assert overlaps == [0.7, 0.5, 0.7]
    sides = [built(table["rpn"])[3].views.max_side for table in (LIGHT, RESNETS)]
    assert sides == [1024, 1067]
