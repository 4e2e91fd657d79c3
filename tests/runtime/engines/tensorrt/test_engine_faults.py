"""What goes wrong on a GPU that is not there: said in one line, and no other image is harmed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.manifest import load_manifest
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_model import Picture, load, picture
from tests.runtime.fake_tensorrt import DataType, FakeContext, FakeEngine, fake_library, fake_plans


def test_a_shape_outside_prints_profile_and_shape(model_folder: Path, device: FakeDevice) -> None:
    """And what to do; what was queued before it harms nothing."""
    image = picture(0)
    with load(model_folder, device, max_side=128) as fake:
        expected = fake(image).to_coco(1)
        text = failure(fake, picture(1, 8, 1000))
        assert fake(image).to_coco(1) == expected
    assert "image 1×3×" in text
    assert "it takes image 1×3×112×112 … 1×3×" in text
    assert "--max-side" in text
    assert "\n" not in text


def failure(model: DeepMask, image: Picture) -> str:
    """What an image fails with. The error itself, whose frames hold tensors, is gone."""
    with pytest.raises(EngineError) as caught:
        model(image)
    text = str(caught.value)
    del caught
    gc.collect()
    return text


def test_no_room_is_one_line_and_passes(fake: DeepMask, device: FakeDevice) -> None:
    """What is needed, what is free, what to do; smaller images still run."""
    small = picture(0, 40, 40)
    expected = fake(small).to_coco(1)
    device.capacity = device.live + (1 << 20)
    text = failure(fake, picture(1, 300, 300))
    assert text.startswith("out of GPU memory: ")
    assert "are free on Fake GPU; use a smaller --max-side" in text
    assert "\n" not in text
    assert fake(small).to_coco(1) == expected
    device.capacity = 1 << 30
    assert len(fake(picture(1, 300, 300))) == 1000


@pytest.fixture
def changed(model_folder: Path, device: FakeDevice) -> Callable[..., EngineError]:
    """The error of loading with one thing changed about the model."""

    def error(**plans: bytes) -> EngineError:
        manifest = load_manifest(model_folder)
        plans = {**fake_plans(manifest, model_folder), **plans}
        with pytest.raises(EngineError) as caught:
            TensorRTEngine(manifest, plans, fake_library(device), device)
        assert "\n" not in str(caught.value)
        return caught.value

    return error


def test_a_plan_that_does_not_load_is_told(changed: Callable[..., EngineError]) -> None:
    """TensorRT gives None and logs why."""
    text = str(changed(score=b"\xff no plan"))
    assert text.startswith("tensorrt 10.99.0 does not load its engine of graph score: ")
    assert text.endswith(
        "magicTagRead == kMAGIC_TAG failed; deepmask-doctor --clear-cache removes it"
    )


def test_a_plan_of_another_graph_is_told(
    changed: Callable[..., EngineError], model_folder: Path
) -> None:
    other = fake_plans(load_manifest(model_folder), model_folder)["trunk"]
    text = str(changed(score=other))
    assert "has inputs ['image'] and outputs ['features'], model.json says ['features']" in text


def test_a_plan_of_other_types_is_told(
    changed: Callable[..., EngineError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "get_tensor_dtype", lambda *_: DataType.HALF)
    assert "the engine of graph trunk holds image as HALF, expected float32" in str(changed())


@pytest.mark.parametrize(
    ("method", "answer", "text"),
    [
        ("execute_async_v3", False, "does not take this run"),
        ("set_input_shape", False, "does not take image of shape (1, 3, "),
        ("set_tensor_address", False, "does not take the address of image"),
        ("infer_shapes", ["image"], "does not know the shapes of image"),
        ("set_optimization_profile_async", False, "does not take profile 0"),
    ],
)
def test_what_tensorrt_refuses_is_told(
    fake: DeepMask, monkeypatch: pytest.MonkeyPatch, method: str, answer: object, text: str
) -> None:
    monkeypatch.setattr(FakeContext, method, lambda *_: answer)
    with pytest.raises(EngineError) as caught:
        fake(picture(0))
    assert str(caught.value).startswith("tensorrt: the engine of graph trunk ")
    assert text in str(caught.value)


def test_no_execution_context_is_told(fake: DeepMask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "create_execution_context", lambda *_: None)
    with pytest.raises(EngineError, match="graph trunk made no execution context"):
        fake(picture(0))


def test_a_runtime_that_does_not_start_is_told(model_folder: Path, device: FakeDevice) -> None:
    """As TensorRT's does with a driver that is too old."""
    library = fake_library(device)

    def nothing(logger: object) -> None:
        library.messages.add("CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    library.module.Runtime = nothing
    with pytest.raises(EngineError, match=r"10\.99\.0 does not start: CUDA .* error: 35$"):
        TensorRTEngine(load_manifest(model_folder), {}, library, device)


def test_an_interrupted_wait_leaves_memory_alone(
    fake: DeepMask, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the device still writes: the next image does not use that memory."""
    image = picture(0)
    expected = fake(image).to_coco(1)
    [stream] = device.streams.values()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stream, "synchronize", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fake(picture(1))
    assert fake(image).to_coco(1) == expected


def test_an_image_that_fails_late_harms_no_other(
    fake: DeepMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(0)
    expected = fake(image).to_coco(1)
    manifest = replace(fake.manifest, border=64)
    with pytest.raises(EngineError, match="score graph gave"):
        DeepMask(manifest, fake.engine, fake.choice)(picture(1))
    assert fake(image).to_coco(1) == expected
