"""Crops gathered from device memory are those that OpenCV cuts, up to its rounding."""

from __future__ import annotations

from typing import NoReturn

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask.coco.annotations import Annotation, Image, LabelledSet
from deepmask.coco.errors import LabelError
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.device_crops import DeviceCropper, PixelTable
from deepmask.networks.patches.sampling import Positive, Window

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    """Two smooth pictures of different sizes, an object in each."""
    folder = tmp_path_factory.mktemp("smooth")
    rng = np.random.default_rng(0)
    images, items = [], []
    for number, (height, width) in enumerate(((90, 140), (203, 77)), 1):
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append(Image(number, folder / f"{number}.png", width, height))
        polygon = [20, 25, 60, 22, 66, 70, 41, 80, 18, 61]
        box = (18.0, 22.0, 48.0, 58.0)
        items.append(Annotation(number, images[-1], 1, False, 1000.0, box, [polygon]))
    return LabelledSet(tuple(images), tuple(items), ())


windows = st.builds(
    Window, st.floats(-30, 170), st.floats(-30, 230), st.floats(0.06, 4.0), st.booleans()
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), windows), min_size=1, max_size=4))
def test_a_batch_of_crops_is_what_opencv_cuts(
    scene: LabelledSet, choices: list[tuple[int, Window]]
) -> None:
    host = Cropper(10**8)
    device = DeviceCropper(scene.images, scene.instances, CPU, threads=1)
    positives = [Positive(scene.instances[index], window, True) for index, window in choices]
    places = [(positive.instance.image, positive.window) for positive in positives]
    found, expected = device.patches(places, 64), host.patches(places, 64)
    assert found.dtype == expected.dtype
    assert found.stride() == expected.stride()
    difference = (found.float() - expected.float()).abs()
    assert difference.mean() <= 1  # all of a plain patch may lie on a half, and be rounded apart
    assert difference.max() <= 12  # at a picture's edge 1/32 px is worth 8 gray levels in all
    found, expected = device.masks(positives, 64, 28), host.masks(positives, 64, 28)
    assert found.shape == expected.shape
    assert (found != expected).float().mean() < 0.01


def test_samples_are_bilinear_and_filled_beyond_the_edge() -> None:
    picture = np.array([[[0], [100]], [[40], [20]]], np.uint8)
    other = np.full((3, 5, 1), 9, np.uint8)
    matrix = np.array([[[0.5, 0, -0.5], [0, 1.0, 0.5]]])
    table = PixelTable([(5, 3), (2, 2)], 1, CPU)
    table.put(1, picture)
    table.put(0, other)
    sampled = table.sample([1], matrix, 4, fill=200)
    left, right = (0 + 40) / 2, (100 + 20) / 2
    expected = [(200 + left) / 2, left, (left + right) / 2, right]  # x = −0.5, 0, 0.5, 1
    assert sampled[0, 0, :, 0].tolist() == expected
    assert sampled[0, 1, 2, 0].item() == (200 + (40 + 20) / 2) / 2  # half of it below the edge
    assert sampled[0, 2].flatten().tolist() == [200] * 4


def test_no_positives_give_no_masks(scene: LabelledSet) -> None:
    for instances in (scene.instances, ()):
        device = DeviceCropper(scene.images, instances, CPU, threads=1)
        assert device.masks([], 64, 28).shape == (0, 28, 28)


def test_too_little_memory_is_said_before_anything_is_decoded(
    scene: LabelledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU answers that has not so much."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", refuse)
    monkeypatch.setattr("deepmask.networks.patches.device_crops.read_picture", None)
    with pytest.raises(LabelError, match=r"0\.0 GB .* more than cpu has free: use --crops host"):
        DeviceCropper(scene.images, scene.instances, CPU, threads=1)
