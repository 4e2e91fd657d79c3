"""The TensorRT engine where something is amiss: one line is said, and no other image is harmed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.folder import load_manifest
from tests.runtime import fake_tensorrt
from tests.runtime.engines.tensorrt.test_gpu import PRESETS
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import (
    FakeContext,
    FakeEngine,
    Picture,
    fake_library,
    fake_plans,
    load,
    picture,
)

Patch = pytest.MonkeyPatch


def failure(model: DeepMask, image: Picture) -> str:
    """What an image fails with. The error itself, whose frames hold tensors, is gone."""
    with pytest.raises(EngineError) as caught:
        model(image)
    text = str(caught.value)
    del caught
    gc.collect()
    assert "\n" not in text
    return text


def test_a_shape_outside_prints_profile_and_shape(model_folder: Path, device: FakeDevice) -> None:
    image = picture(0)
    with load(model_folder, device, max_side=128) as fake:
        expected = fake(image).to_coco(1)
        text = failure(fake, picture(1, 8, 1000))
        assert fake(image).to_coco(1) == expected
    assert "image 1×3×" in text
    assert "it takes image 1×3×112×112 … 1×3×" in text
    assert "(best: 1×3×" in text
    assert "--max-side" in text


def test_no_room_is_one_line_and_passes(fake: DeepMask, device: FakeDevice) -> None:
    small = picture(0, 40, 40)
    expected = fake(small).to_coco(1)
    device.capacity = device.live + (1 << 20)
    text = failure(fake, picture(1, 300, 300))
    assert text.startswith("out of GPU memory: ")
    assert "are free on Fake GPU; use a smaller --max-side" in text
    assert fake(small).to_coco(1) == expected
    device.capacity = 1 << 30
    assert len(fake(picture(1, 300, 300))) == 1000


def test_a_plan_that_does_not_load_is_told(model_folder: Path, device: FakeDevice) -> None:
    manifest = load_manifest(model_folder)
    plans = {**fake_plans(manifest, model_folder), "score": b"\xff no plan"}
    with pytest.raises(EngineError) as caught:
        TensorRTEngine(manifest, plans, fake_library(device), device)
    text = str(caught.value)
    assert text.startswith("tensorrt 10.99.0 does not load its plan of score: ")
    assert text.endswith(
        "magicTagRead == kMAGIC_TAG failed; deepmask-doctor --clear-cache removes it"
    )


@pytest.mark.parametrize(
    ("method", "answer", "text"),
    [
        ("execute_async_v3", lambda *_: False, "does not take this run"),
        ("set_input_shape", lambda *_: False, "does not take image of shape (1, 3, "),
        ("set_tensor_address", lambda *_: False, "does not take the address of image"),
        ("infer_shapes", lambda *_: ["image"], "does not know the shapes of image"),
        ("infer_shapes", Mock(side_effect=RuntimeError("a\nb")), "cannot infer shapes"),
        ("set_optimization_profile_async", lambda *_: False, "does not take profile 0"),
        ("create_execution_context", lambda *_: None, "made no execution context"),
    ],
)
def test_what_tensorrt_refuses_is_told(
    fake: DeepMask, monkeypatch: Patch, method: str, answer: Callable[..., object], text: str
) -> None:
    of_engine = method == "create_execution_context"
    monkeypatch.setattr(FakeEngine if of_engine else FakeContext, method, answer)
    told = failure(fake, picture(0))
    assert told.startswith("tensorrt: the plan of trunk ")
    assert text in told


def test_ctrl_c_leaves_memory_alone(fake: DeepMask, device: FakeDevice, monkeypatch: Patch) -> None:
    """Ctrl-C while the device still writes: the next image does not use that memory."""
    image = picture(0)
    expected = fake(image).to_coco(1)
    [stream] = device.streams.values()
    with monkeypatch.context() as patched:
        patched.setattr(stream, "synchronize", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fake(picture(1))
    assert fake(image).to_coco(1) == expected


def test_an_image_that_fails_late_harms_no_other(fake: DeepMask) -> None:
    image = picture(0)
    expected = fake(image).to_coco(1)
    manifest = replace(fake.manifest, views=replace(fake.manifest.views, border=64))
    other = DeepMask(manifest, fake.engine, fake.choice)
    assert "the score map score is" in failure(other, picture(1))
    assert fake(image).to_coco(1) == expected


def test_names_that_the_engine_uses_are_tensorrts() -> None:
    """TensorRT for RTX has TensorRT's interface, and is to be had without a GPU."""
    trt = pytest.importorskip("tensorrt_rtx")
    for fake, real in (
        ("Engine", "ICudaEngine"),
        ("Context", "IExecutionContext"),
        ("RuntimeConfig", "IRuntimeConfig"),
        ("RuntimeCache", "IRuntimeCache"),
    ):
        used = vars(getattr(fake_tensorrt, f"Fake{fake}"))
        names = {name for name in used if name.islower() and not name.startswith("_")}
        assert names - {"run"} - set(dir(getattr(trt, real))) == set()
    assert "num_optimization_profiles" in dir(trt.ICudaEngine)
    assert trt.ExecutionContextAllocationStrategy.USER_MANAGED is not None


def test_every_preset_is_tested_where_there_is_a_gpu() -> None:
    presets = pytest.importorskip("deepmask.networks.presets")
    assert set(PRESETS) == set(presets.PRESETS)
