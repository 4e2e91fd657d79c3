"""What a user gets: lazily decoded masks, COCO results, the overlay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal
from pycocotools import mask as coco_mask

from deepmask import DeepMask, Proposals
from deepmask.runtime.model.manifest import Category
from deepmask.runtime.predict.classes import Classes


@pytest.fixture(scope="module")
def picture(scene: Callable[..., Any]) -> npt.NDArray[np.uint8]:
    image: npt.NDArray[np.uint8] = scene(5, 120, 150, objects=4).image
    return image


@pytest.fixture(scope="module")
def proposals(model: DeepMask, picture: npt.NDArray[np.uint8]) -> Proposals:
    return model(picture, proposals=2000)


def test_rles_boxes_and_areas_are_those_of_the_masks(proposals: Proposals) -> None:
    rles = proposals.rles()
    assert len(rles) == len(proposals.boxes) == len(proposals.areas) == len(proposals)
    assert (proposals.areas == 0).any()
    for index in range(0, len(proposals), 5):
        mask = proposals.masks(index)
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rles[index]["counts"] == expected["counts"].decode()
        assert rles[index]["size"] == [120, 150]
        assert_array_equal(proposals.boxes[index], coco_mask.toBbox(expected))
        assert proposals.areas[index] == mask.sum()
    assert_array_equal(proposals.masks(-1), proposals.masks(len(proposals) - 1))
    with pytest.raises(IndexError):
        proposals.masks(len(proposals))


def test_coco_results(proposals: Proposals) -> None:
    results = json.loads(json.dumps(proposals.to_coco(42)))
    assert len(results) == int((proposals.areas > 0).sum())
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    assert [np.float32(score) for score in scores] == proposals.scores[proposals.areas > 0].tolist()
    for result in results[::20]:
        assert set(result) == {"image_id", "category_id", "segmentation", "bbox", "score"}
        assert result["image_id"] == 42
        assert result["category_id"] == 1
        x, y, width, height = result["bbox"]
        rows, cols = np.nonzero(coco_mask.decode(result["segmentation"]))
        assert (x, y) == (cols.min(), rows.min())
        assert (x + width, y + height) == (cols.max() + 1, rows.max() + 1)


def test_labels_become_categories(proposals: Proposals) -> None:
    """Masks without a pixel are left out with theirs; -1 has a category of its own."""
    labelled = with_labels(proposals)
    labels = labelled.labels
    assert labels is not None
    found = labelled.to_coco(1)
    ids = np.array([5, 9, 10])[labels[proposals.areas > 0]]
    assert [result["category_id"] for result in found] == ids.tolist()
    assert set(ids) == {5, 9, 10}
    assert {result["category_score"] for result in found} == {0.25, 0.75}
    kept = labelled.labelled([1])
    assert kept.names == ["b"] * int((labels == 1).sum())
    assert kept.scores.tolist() == proposals.scores[labels == 1].tolist()
    assert kept.captions == kept.names
    assert set(labelled.captions) == {"a", "b", ""}
    assert set(labelled.objects(50).names or []) == {"a", "b", "object"}


def with_labels(proposals: Proposals) -> Proposals:
    """Every third mask is an "a", the next one a "b", the next one unsure."""
    table = np.array([[0.75, 0], [0, 0.75], [0.25, 0]], np.float32)
    scores = table[np.arange(len(proposals)) % 3]
    categories = (Category(5, "a"), Category(9, "b"))
    return replace(proposals, classes=Classes(categories, scores, None, 0.5))


def test_overlay_shows_objects(proposals: Proposals, picture: npt.NDArray[np.uint8]) -> None:
    before = picture.copy()
    objects = proposals.objects(3)
    drawn = objects.draw(picture)
    assert_array_equal(picture, before)
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8
    masks = np.any([objects.masks(i) for i in range(3)], axis=0)
    changed = (drawn != picture).any(axis=2)
    assert changed[masks].mean() > 0.95
    assert changed[~masks].mean() < 0.2
    assert len(np.unique(drawn[masks] - picture[masks], axis=0)) > 3


def test_objects_are_the_best_of_those_that_are_alike(proposals: Proposals) -> None:
    """With `parts`, the overlap alone decides."""
    objects = proposals.objects(5, nms=0.2, parts=True, min_score=0)
    rles = proposals.rles()
    chosen = [rles.index(one) for one in objects.rles()]
    assert chosen == sorted(chosen)
    assert_array_equal(objects.scores, proposals.scores[chosen])
    masks = {index: proposals.masks(index) for index in range(chosen[-1] + 1)}

    def alike(first: int, second: int) -> bool:
        both = (masks[first] & masks[second]).sum()
        return bool(both > 0.2 * (masks[first] | masks[second]).sum())

    for index, mask in masks.items():
        better = [other for other in chosen if other < index]
        is_object = mask.any() and not any(alike(index, other) for other in better)
        assert is_object == (index in chosen)


def test_labels_stay_with_their_objects(proposals: Proposals) -> None:
    scores = np.linspace(0, 1, len(proposals), dtype=np.float32)[:, None]
    classes = Classes((Category(1, "a"),), scores, None, 0.5)
    objects = replace(proposals, classes=classes).objects(4)
    assert objects.label_scores is not None
    index = np.rint(objects.label_scores * (len(proposals) - 1)).astype(int)
    assert_array_equal(proposals.scores[index], objects.scores)


@pytest.mark.parametrize(
    "arguments", [{"top": 0}, {"nms": 1.5}, {"min_score": -0.1}, {"nms": float("nan")}]
)
def test_wrong_arguments_of_objects(proposals: Proposals, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        proposals.objects(**arguments)


def test_overlay_of_nothing_is_the_image(model: DeepMask) -> None:
    """No mask has a pixel on an even gray."""
    image = np.full((40, 50, 3), 127, np.uint8)
    proposals = model(image)
    assert not proposals.areas.any()
    assert proposals.to_coco(1) == []
    assert_array_equal(proposals.draw(image), image)
    with pytest.raises(ValueError, match=r"image is \(9, 9, 3\), the masks' image is"):
        proposals.draw(np.zeros((9, 9, 3), np.uint8))
