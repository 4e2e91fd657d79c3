"""Batches of whole pictures and what is on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deepmask.coco.annotations import Annotation, Image, LabelledSet
from deepmask.networks.boxes.batches import LONGER_SIDE, box_batches, whole_view
from deepmask.networks.boxes.categories import with_categories_of
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.family import TrainingData
from tests.networks.tiny_fast_rcnn import OF_PYRAMID

RECIPE = FastRcnnRecipe(batch=4)
HEIGHT, WIDTH = 100, 200


def labelled(folder: Path, first: int, category: int = 7, crowd: bool = False) -> LabelledSet:
    """Two pictures whose left half is white: an object of its own."""
    images, annotations = [], []
    for number in (first, first + 1):
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        pixels[:, : WIDTH // 2] = 255
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        images.append(Image(number, path, WIDTH, HEIGHT))
        box = (0.0, 0.0, WIDTH / 2, float(HEIGHT))
        annotations.append(Annotation(number, images[-1], category, crowd, 1e4, box, None))
    names = {1: "square", 7: "disc"}
    return LabelledSet(tuple(images), tuple(annotations), categories=names)


def test_pictures_are_seen_as_at_test_time(tmp_path: Path) -> None:
    """Scaled, perhaps mirrored, on a canvas of their own; boxes go with them."""
    batch = box_batches(TrainingData(labelled(tmp_path, 1)), OF_PYRAMID, RECIPE)
    seen = set()
    for step in range(4):
        one = batch(step)
        assert one.whole == len(one.images) == 4
        for image, size, boxes, names in zip(
            one.images, one.sizes, one.boxes, one.category, strict=True
        ):
            assert size.tolist() == [LONGER_SIDE // 2, LONGER_SIDE]
            assert image.shape == (512, 1024, 3)
            assert names.tolist() == [2]
            left, top, right, bottom = (round(v) for v in boxes[0].tolist())
            assert (right - left, top, bottom) == (LONGER_SIDE // 2, 0, LONGER_SIDE // 2)
            assert image[:, left + 3 : right - 3].float().mean() > 250
            seen.add(left)
    assert seen == {0, LONGER_SIDE // 2}


def test_views_are_those_of_the_runtime() -> None:
    view = whole_view(333, 500, mirrored=False)
    assert (view.height, view.width) == (682, 1024)


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1), seed=3)
    one, two = (box_batches(data, OF_PYRAMID, RECIPE) for _ in range(2))
    for a, b in zip(one(5).images, two(5).images, strict=True):
        assert torch.equal(a, b)


def test_processes_share_a_batch(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1))
    whole = box_batches(data, OF_PYRAMID, RECIPE)(0)
    share = box_batches(replace(data, rank=1, size=2), OF_PYRAMID, RECIPE)(0)
    assert (len(share.images), share.whole) == (2, 4)
    assert torch.equal(share.images[0], whole.images[1])


def test_partly_labelled_pictures_are_told_apart(tmp_path: Path) -> None:
    partly = [labelled(tmp_path, 5)]
    data = TrainingData(labelled(tmp_path, 1), partly)
    batch = box_batches(data, OF_PYRAMID, replace(RECIPE, complete_share=0.0))(0)
    assert not any(batch.complete)


def test_crowds_are_no_objects(tmp_path: Path) -> None:
    crowds = labelled(tmp_path, 1, crowd=True)
    with pytest.raises(ValueError, match="no object to learn from"):
        box_batches(TrainingData(crowds), OF_PYRAMID, RECIPE)
    both = TrainingData(crowds, [labelled(tmp_path, 5)])
    batch = box_batches(both, OF_PYRAMID, replace(RECIPE, complete_share=1.0))(0)
    assert [len(one) for one in batch.boxes] == [0] * 4
    assert [len(one) for one in batch.crowds] == [1] * 4


def test_categories_are_those_of_the_labels(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1, 7), [labelled(tmp_path, 5, 1)])
    config = with_categories_of(OF_PYRAMID, data)
    assert (config.category_ids, config.category_names) == ((1, 7), ("square", "disc"))
    unnamed = TrainingData(labelled(tmp_path, 1, 12))
    assert with_categories_of(OF_PYRAMID, unnamed).category_names == ("12",)


@pytest.mark.parametrize(
    ("names", "category", "words"),
    [
        ({7: "disc"}, 10**6, "ids 1000000 to 1000000: a model names 1000"),
        ({}, -3, "ids -3 to -3"),
    ],
)
def test_categories_that_no_model_can_hold(
    tmp_path: Path, names: dict[int, str], category: int, words: str
) -> None:
    found = replace(labelled(tmp_path, 1, category), categories=names)
    with pytest.raises(ValueError, match=words):
        with_categories_of(OF_PYRAMID, TrainingData(found))


def test_two_categories_of_one_name_are_refused(tmp_path: Path) -> None:
    names = {1: "disc", 7: "disc"}
    one, other = (
        replace(labelled(tmp_path, first, category), categories=names)
        for first, category in ((1, 1), (5, 7))
    )
    with pytest.raises(ValueError, match="two categories are named 'disc'"):
        with_categories_of(OF_PYRAMID, TrainingData(one, [other]))


def test_stored_proposals_are_seen_as_the_picture_is(tmp_path: Path) -> None:
    """They are scaled and mirrored with it, and cut to it; specks are left out."""
    boxes = np.array([[0.0, 0.0, 100.0, 100.0], [150.0, 50.0, 99.0, 99.0], [5.0, 5.0, 0.1, 9.0]])
    asked: list[int] = []

    def stored(image_id: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        asked.append(image_id)
        return boxes

    data = TrainingData(labelled(tmp_path, 1), proposals=stored)
    batch = box_batches(data, OF_PYRAMID, RECIPE)(0)
    assert batch.proposed is not None
    assert set(asked) <= {1, 2}
    for objects, (left, right) in zip(batch.boxes, batch.proposed, strict=True):
        torch.testing.assert_close(left, objects[0])
        mirrored = objects[0, 0] > 0
        x = 0.0 if mirrored else 768.0
        assert right.tolist() == [x, 256, x + 256, 512]
    assert box_batches(replace(data, proposals=None), OF_PYRAMID, RECIPE)(0).proposed is None
