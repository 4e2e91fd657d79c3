"""Batches of whole pictures from labelled sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deepmask.coco.annotations import Annotation, Ignored, Image, LabelledSet
from deepmask.networks.family import TrainingData
from deepmask.networks.whole.batch import Batch
from deepmask.networks.whole.batches import whole_batches
from deepmask.networks.whole.recipe import FpnLiteRecipe
from tests.networks.tiny_fpn import TINY

RECIPE = FpnLiteRecipe(batch=3, whole_share=0.0)


def labelled(folder: Path, first: int, crowd: bool = False, flawed: bool = False) -> LabelledSet:
    """Two pictures, each with a white square of 60 pixels in its middle."""
    images, annotations = [], []
    for number in (first, first + 1):
        pixels = np.full((200, 300, 3), 60, np.uint8)
        pixels[70:130, 120:180] = 250
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        image = Image(number, path, 300, 200)
        outline = [[120.0, 70.0, 180.0, 70.0, 180.0, 130.0, 120.0, 130.0]]
        annotations.append(
            Annotation(
                number,
                image,
                1,
                crowd,
                3600.0,
                (120.0, 70.0, 60.0, 60.0),
                outline,
            )
        )
        images.append(image)
    if not flawed:
        return LabelledSet(tuple(images), tuple(annotations))
    left = [Ignored(item.id, item.image, (item.box,), "outline") for item in annotations]
    return LabelledSet(tuple(images), (), ignored=tuple(left))


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.windows, b.windows)


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1), seed=3)
    one, two = (whole_batches(data, TINY, RECIPE) for _ in range(2))
    assert same(one(5), two(5))
    assert not same(one(5), one(6))


def test_processes_share_a_batch(tmp_path: Path) -> None:
    found = labelled(tmp_path, 1)
    recipe = FpnLiteRecipe(batch=7, whole_share=0.0)
    whole = whole_batches(TrainingData(found), TINY, recipe)(0)
    shares = [whole_batches(TrainingData(found, rank=k, size=2), TINY, recipe)(0) for k in (0, 1)]
    assert torch.equal(whole.images[0::2], shares[0].images)
    assert torch.equal(whole.images[1::2], shares[1].images)
    assert torch.equal(whole.seeds[0::2], shares[0].seeds)


def test_whole_pictures_lie_on_canvases_of_their_kind(tmp_path: Path) -> None:
    recipe = FpnLiteRecipe(batch=3, whole_share=1.0)
    batch = whole_batches(TrainingData(labelled(tmp_path, 1)), TINY, recipe)(0)
    assert batch.images.shape == (1, 768, 1024, 3)


def test_partly_labelled_pictures_are_drawn_and_have_no_background(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1), [labelled(tmp_path, 11)])
    recipe = FpnLiteRecipe(batch=16, whole_share=0.0, complete_share=0.5)
    batch = whole_batches(data, TINY, recipe)(0)
    assert batch.complete.any()
    assert not batch.complete.all()
    for label in batch.label:
        assert (label[~batch.complete] != 0).all()


@pytest.mark.parametrize("kind", ["crowd", "flawed"])
def test_what_is_not_learnt_is_never_background(tmp_path: Path, kind: str) -> None:
    """A crowd, and an annotation that was refused: ignored where they are."""
    ignored = labelled(tmp_path, 1, crowd=kind == "crowd", flawed=kind == "flawed")
    data = TrainingData(labelled(tmp_path, 11), [ignored])
    recipe = FpnLiteRecipe(batch=8, whole_share=0.0, complete_share=0.0)
    batch = whole_batches(data, TINY, recipe)(0)
    assert len(batch.windows) == 0
    assert len(batch.crowds) == 8


def test_a_set_without_objects_is_refused(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1, crowd=True))
    with pytest.raises(ValueError, match="no object to learn from"):
        whole_batches(data, TINY, RECIPE)


def test_each_process_needs_a_picture(tmp_path: Path) -> None:
    data = TrainingData(labelled(tmp_path, 1), size=2)
    with pytest.raises(ValueError, match="raise --batch"):
        whole_batches(data, TINY, replace(RECIPE, whole_share=0.5))
