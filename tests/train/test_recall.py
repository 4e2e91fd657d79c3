"""Recall during training is what the runtime and the evaluation would measure."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmask import read_image
from deepmask.coco.annotations import LabelledSet
from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco
from deepmask.evaluate.ground_truth import coco_truth
from deepmask.evaluate.metrics import measures, total
from deepmask.evaluate.records import read_records
from deepmask.evaluate.run import evaluate_images, open_folder
from deepmask.evaluate.sources import FileSource
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.deepmask import margin_of
from deepmask.networks.dense.torch_engine import runnable
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.views.views import plan_views, render_view
from deepmask.train.recall import (
    DECIDING,
    KINDS,
    RECALLS,
    deciding,
    measure_recall,
    recall_images,
)
from tests.train.small import CPU

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize(
    "change",
    [{}, {"score_head": "pooled"}, {"score_head": "pooled", "mask_head": "full", "rank": 0}],
    ids=["shared", "pooled", "full"],
)
def test_proposals_are_those_of_the_network(
    tiny_model: DeepMaskConfig, change: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    network = DeepMaskNetwork(replace(tiny_model, **change)).eval()
    image = np.random.default_rng(0).integers(0, 256, (90, 131, 3), np.uint8)
    with runnable(network, CPU.device) as model:
        scales = Scales(0, 0, 1)
        scores = model(image, proposals=10_000, scales=scales, overlap=1.0).scores
        found = model.windows(image, proposals=10_000, scales=scales)
        views = model.manifest.views
    (view,) = plan_views(90, 131, (1.0,), views)
    canvas = torch.from_numpy(render_view(image, view, views))
    margin, cells = margin_of(network.config), network.config.cells
    with torch.no_grad():
        features = network.features(canvas)
        for index in (0, len(scores) // 2, len(scores) - 1):
            row = margin + int(found.selection.row[index])
            col = margin + int(found.selection.col[index])
            window = features[:, :, row : row + cells, col : col + cells]
            score, mask = float(network.score(window).sigmoid()), network.mask(window)[0]
            torch.testing.assert_close(float(scores[index]), score, **CLOSE)
            torch.testing.assert_close(torch.from_numpy(found.logits[index]), mask, **CLOSE)


def test_recall_is_what_the_evaluation_measures(
    drawn: tuple[Path, Path], tiny_model: DeepMaskConfig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = DeepMaskNetwork(tiny_model).eval()
    middle = torch.zeros(14, 14)  # of a window is its mask: about the size of the drawn objects
    middle[4:10, 4:10] = 1
    with torch.no_grad():
        network.mask_head.classify.bias.copy_(10 * middle.flatten() - 5)
    images = recall_images(read_coco(*drawn), 4)
    measured = measure_recall(network, images, CPU)

    truth = coco_truth(drawn[0])
    ids = [image.picture.id for image in images]
    with runnable(network, CPU.device) as model:
        results = []
        for image_id in ids:
            found = model(read_image(drawn[1] / truth.pictures[image_id].path))
            results += found.to_coco(image_id)
    (tmp_path / "results.json").write_text(json.dumps(results))
    open_folder(tmp_path, {}, ids, resume=False)
    source = FileSource(tmp_path / "results.json", truth.pictures, 1000)
    outcome = evaluate_images(truth, source, KINDS, tmp_path, ids)
    assert outcome.done == 4
    totals = total(read_records(tmp_path), KINDS)
    expected = {
        f"{kind}_{name}": float(values[0])
        for kind in KINDS
        for name, values in measures(totals[kind]).items()
    }
    assert measured == {name: pytest.approx(expected[name], abs=1e-12) for name in RECALLS}
    assert measured["bbox_AR@1000"] > 0  # windows of several scales find something


def test_images_are_spread_over_the_set(drawn: tuple[Path, Path]) -> None:
    found = read_coco(*drawn)
    assert [one.picture.id for one in recall_images(found, 3)] == [1, 3, 6]
    assert len(recall_images(found, 1000)) == len(found.images)


def test_boxes_alone_are_refused(drawn: tuple[Path, Path]) -> None:
    found = read_coco(*drawn)
    boxes = replace(found, instances=tuple(replace(i, segmentation=None) for i in found.instances))
    with pytest.raises(LabelError, match="boxes but no outlines, which average recall"):
        recall_images(boxes, 2)
    assert len(recall_images(boxes, 2, with_masks=False)) == 2


def test_masks_decide_or_else_boxes() -> None:
    nothing = dict.fromkeys(RECALLS, math.nan)
    masks, boxes = DECIDING
    assert deciding({**nothing, masks: 0.2, boxes: 0.4}) == 0.2
    assert deciding({**nothing, boxes: 0.4}) == 0.4
    assert math.isnan(deciding(nothing))


def test_crowds_are_not_searched_for(drawn: tuple[Path, Path]) -> None:
    found = read_coco(*drawn)

    def with_crowds(limit: int) -> LabelledSet:
        items = (replace(item, crowd=item.image.id < limit) for item in found.instances)
        return replace(found, instances=tuple(items))

    assert [len(one.objects.ids) for one in recall_images(with_crowds(6), 2)] == [0, 3]
    with pytest.raises(LabelError, match="no object to find in 2 validation images"):
        recall_images(with_crowds(7), 2)
