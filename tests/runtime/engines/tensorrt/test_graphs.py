"""The way of a picture on the GPU: up once as bytes, two waits, few runs, masks in half."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.engines.tensorrt.graphs import half_stages
from deepmask.runtime.engines.tensorrt.profile import LARGEST
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.half_recall import HalfRecall
from deepmask.runtime.model.shipped import find_model
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import Picture, fake_library, picture, real_plans


@pytest.fixture(scope="module")
def device() -> FakeDevice:
    return FakeDevice(4 << 30)


@pytest.fixture(scope="module")
def shipped(device: FakeDevice) -> Iterator[DeepMask]:
    folder = find_model(None)
    manifest = load_manifest(folder)
    plans = real_plans(manifest, folder, manifest.views.max_side)
    engine = TensorRTEngine(manifest, plans, fake_library(device), device)
    with DeepMask(manifest, engine, Choice("tensorrt", "cuda")) as model:
        yield model


@pytest.fixture(scope="module")
def wide() -> Picture:
    """A wide picture: the network sees 128 × 1024 pixels of it."""
    return np.repeat(np.repeat(picture(1, 5, 40), 8, axis=0), 8, axis=1)


def test_a_picture_costs_two_waits_and_four_runs(
    shipped: DeepMask, device: FakeDevice, wide: Picture
) -> None:
    shipped(wide, labels=False)
    device.reset()
    found = shipped(wide, labels=False)
    assert len(found) == 1000
    assert device.calls["synchronize"] == 2
    assert device.calls["run"] == 4
    assert device.calls["allocate"] == device.calls["pin"] == 0
    canvas = 4 * 3 * 128 * 1024
    assert wide.nbytes < device.sizes["upload"] < canvas / 8
    masks, scores = 1000 * 48 * 48 * 2, 4 * 2 * 5 * 16 * 128
    assert masks < device.sizes["download"] < masks + scores
    shipped(wide)
    device.reset()
    shipped(wide)
    assert device.calls["synchronize"] == 3  # once more for what boxes are called
    assert device.calls["run"] == 6


def test_results_are_those_of_the_processor(shipped: DeepMask, wide: Picture) -> None:
    """Resizing differs by a gray level here and there, and masks by the rounding of float16."""
    with DeepMask.load(engine="onnxruntime", device="cpu") as model:
        expected, found = model(wide), shipped(wide)
        windows = model.windows(wide)
    assert shipped.windows(wide).logits.dtype == windows.logits.dtype == np.float32
    again = 0
    for index in range(50):
        ious = [expected.encoded[index].iou(other) for other in found.encoded[:100]]
        again += max(ious) > 0.9
    assert again >= 45
    np.testing.assert_allclose(found.scores[:20], expected.scores[:20], atol=0.02)


def test_float16_is_taken_where_recall_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the shipped model's proposals; not for its names, whose accuracy was not measured."""
    manifest = load_manifest(find_model(None))
    stages, why = half_stages(manifest)
    assert stages == {"score", "mask-a", "mask-b"}
    assert manifest.half is not None
    loss = f"AR@100 {manifest.half.fp16:.4f} for {manifest.half.fp32:.4f} on 50 pictures"
    assert why == f"fp16 ({loss}; --no-fp16 keeps fp32)"
    for other in (replace(manifest, half=None), replace(manifest, precision="int8-symmetric")):
        assert half_stages(other) == (set(), other.precision)
    lost = replace(manifest, half=HalfRecall(0.3367, 0.3, 50))
    assert half_stages(lost) == (
        set(),
        "fp32 (fp16 would lose recall: AR@100 0.3000 for 0.3367 on 50 pictures)",
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert half_stages(manifest) == (
        set(),
        "fp32 (fp16 needs the library onnx: pip install onnx)",
    )


def test_the_float16_form_finds_the_same(
    shipped: DeepMask, device: FakeDevice, wide: Picture
) -> None:
    folder = find_model(None)
    manifest = load_manifest(folder)
    plans = real_plans(manifest, folder, manifest.views.max_side, half_stages(manifest)[0])
    engine = TensorRTEngine(manifest, plans, fake_library(device), device)
    with DeepMask(manifest, engine, Choice("tensorrt", "cuda")) as half:
        found, expected = half(wide), shipped(wide)
    assert found.labels is not None
    again = 0
    for index in range(50):
        ious = [expected.encoded[index].iou(other) for other in found.encoded[:100]]
        again += max(ious) > 0.9
    assert again >= 45


def test_a_huge_picture_is_resized_by_the_processor(shipped: DeepMask, device: FakeDevice) -> None:
    device.reset()
    shipped(np.full((30, LARGEST + 1, 3), 99, np.uint8), proposals=1)
    assert device.sizes["upload"] > 4 * 3 * 128 * 1024


def test_masks_that_are_not_finite_are_refused(model_folder: Path) -> None:
    """Float16 has no number for what is beyond 65504: told, not taken for a mask."""
    from deepmask.runtime.predict.network import _all_finite

    values = np.array([0, -1, 65504, -65504], np.float16)
    assert _all_finite(values)
    for bad in (np.inf, -np.inf, np.nan):
        assert not _all_finite(np.append(values, np.float16(bad)))
