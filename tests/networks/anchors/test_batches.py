"""Batches of crops, and what lies on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmask.coco.annotations import Image
from deepmask.networks.anchors.batches import (
    AnchorBatch,
    faster_rcnn_batches,
    retinanet_batches,
    rpn_batches,
    truth_of,
)
from deepmask.networks.anchors.recipe import AnchorRecipe, FasterRcnnRecipe
from deepmask.networks.boxes.pictures import NamedPicture
from deepmask.networks.family import TrainingData
from deepmask.networks.whole.view import View
from tests.networks.boxes.test_batches import labelled
from tests.networks.tiny_anchors import LIGHT, LIGHT_FASTER_RCNN, LIGHT_RETINANET

RECIPE = AnchorRecipe(batch=4, crop=256)


def same(one: AnchorBatch, other: AnchorBatch) -> bool:
    return all(map(torch.equal, (one.images, *one.boxes), (other.images, *other.boxes)))


def test_boxes_lie_where_the_objects_are_seen(tmp_path: Path) -> None:
    """Objects are the white left halves of pictures, mirrored or not, on a crop of 256 pixels."""
    make = retinanet_batches(TrainingData(labelled(tmp_path, 1)), LIGHT_RETINANET, RECIPE)
    sides = set()
    for step in range(6):
        batch = make(step)
        assert (batch.images.shape, batch.whole) == ((4, 256, 256, 3), 4)
        assert batch.class_loss == "focal"
        for k, (image, size) in enumerate(zip(batch.images, batch.sizes, strict=True)):
            height, width = size.tolist()
            assert (image[height:] == 127).all()
            truth = batch.truth(k)
            for left, top, right, bottom in truth.boxes.round().int().tolist():
                assert (top, bottom) == (0, height)
                inner = image[top + 3 : bottom - 3, left + 3 : right - 3].float()
                assert inner.min() > 100 or right - left < 8
                sides.add(right < width)
            assert truth.category.tolist() == [2] * len(truth.boxes)
            assert truth.labelled.tolist() == [True, True]
    assert sides == {True, False}


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1), seed=3)
    one, two = (retinanet_batches(data, LIGHT_RETINANET, RECIPE) for _ in range(2))
    assert same(one(5), two(5))
    assert not same(one(5), one(6))


def test_processes_share_a_batch(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1))
    whole = retinanet_batches(data, LIGHT_RETINANET, RECIPE)(0)
    share = retinanet_batches(replace(data, rank=1, size=2), LIGHT_RETINANET, RECIPE)(0)
    assert (len(share.images), share.whole) == (2, 4)
    assert torch.equal(share.images[0], whole.images[1])
    with pytest.raises(ValueError, match="batch is 4: raise --batch to one crop a process"):
        retinanet_batches(replace(data, rank=1, size=5), LIGHT_RETINANET, RECIPE)


def test_proposals_are_of_any_category(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1, 7), [labelled(tmp_path, 5, 1)])
    for share in (0.0, 1.0):
        batch = rpn_batches(data, LIGHT, replace(RECIPE, complete_share=share))(0)
        assert {k for one in batch.category for k in one.tolist()} == {1}
        assert [one.tolist() for one in batch.labelled] == [[share == 1.0]] * 4


def test_what_is_background_must_be_known_of_all_where_one_score_tells_it(tmp_path: Path) -> None:
    """RetinaNet has a score for each category: others still learn background."""
    full = replace(labelled(tmp_path, 1, 7), categories={7: "disc"})
    data = TrainingData(full, [labelled(tmp_path, 5, 1)])
    with pytest.raises(ValueError, match="no picture tells what is background"):
        rpn_batches(data, LIGHT, RECIPE)
    with pytest.raises(ValueError, match="no picture tells what is background"):
        faster_rcnn_batches(data, LIGHT_FASTER_RCNN, FasterRcnnRecipe())
    faster = faster_rcnn_batches(
        TrainingData(labelled(tmp_path, 1)),
        LIGHT_FASTER_RCNN,
        FasterRcnnRecipe(batch=1, best_proposals=7, boxes=6),
    )(0)
    assert (faster.proposals, faster.drawn, len(faster.images)) == (7, 6, 1)
    recipe = replace(RECIPE, complete_share=1.0)
    batch = retinanet_batches(data, LIGHT_RETINANET, recipe)(0)
    assert batch.labelled[0].tolist() == [False, True]


def test_what_a_crop_cuts_is_told_apart() -> None:
    """Half seen: an object; less: neither; a speck: like a crowd; not seen at all: not there."""
    boxes = [(10.0, 0.0, 20.0, 20.0), (90.0, 0.0, 40.0, 20.0), (99.0, 50.0, 10.0, 10.0)]
    boxes += [(150.0, 0.0, 9.0, 9.0), (90.0, 60.0, 20.0, 20.0)]
    picture = NamedPicture(
        Image(1, Path("a.png"), 200, 100),
        boxes,
        [1, 2, 1, 1, 2],
        [(0.0, 80.0, 500.0, 9.0)],
        (True,),
    )
    truth = truth_of(picture, View(1.0, 1.0, 0, 0, 100, 100, mirrored=False))
    assert truth.boxes.tolist() == [[10, 0, 30, 20], [90, 0, 100, 20], [90, 60, 100, 80]]
    assert truth.category.tolist() == [1, 2, 2]
    assert truth.usable.tolist() == [True, False, True]
    np.testing.assert_array_equal(truth.crowds, [[0, 80, 100, 89], [99, 50, 100, 60]])


def test_a_picture_without_objects_is_background() -> None:
    picture = NamedPicture(Image(1, Path("a.png"), 9, 9), [], [], [], (True, False))
    truth = truth_of(picture, View(1.0, 1.0, 0, 0, 9, 9, mirrored=True))
    assert (truth.boxes.shape, truth.category.shape, truth.usable.shape) == ((0, 4), (0,), (0,))
    assert truth.labelled.tolist() == [True, False]
