"""Choosing an engine: what `auto` takes, what it falls back to, and what it says of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from deepmask import DeepMask
from deepmask.runtime.engines import onnxruntime as ort_engine
from deepmask.runtime.engines.base import DeviceError, EngineError
from deepmask.runtime.engines.choose import Choice, choose
from deepmask.runtime.engines.tensorrt import cuda, flavours, plan_cache
from deepmask.runtime.model.manifest import Manifest, Scales, Stage
from tests.runtime.fake_gpu import FAKE, FakeDevice
from tests.runtime.fake_tensorrt import fake_library, fake_plans, real_plans

Patch = pytest.MonkeyPatch


@pytest.fixture
def gpu(monkeypatch: Patch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setattr(cuda, "open_device", lambda index=0: device)
    monkeypatch.setattr(cuda, "may_have_gpu", lambda: True)
    monkeypatch.setattr(flavours, "load_library", lambda flavour: fake_library(device, flavour))
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "")
    return device


@pytest.fixture
def no_gpu(monkeypatch: Patch) -> None:
    """A machine with a card but without a driver, and onnxruntime without CUDA."""
    refuse = Mock(side_effect=DeviceError("no NVIDIA driver on this machine"))
    monkeypatch.setattr(cuda, "open_device", refuse)
    monkeypatch.setattr(cuda, "may_have_gpu", lambda: True)  # a card
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "no CUDA here")


def absent(library: str) -> str:
    return f"{library} is not installed: pip install 'deepmask-trt[{library}]'"


def lack(monkeypatch: Patch, *missing: str) -> None:
    original = flavours.load_library

    def load(flavour: str) -> flavours.Library:
        if flavour in missing:
            raise EngineError(absent(flavour))
        return original(flavour)

    monkeypatch.setattr(flavours, "load_library", load)


def order(choice: Choice | None) -> list[tuple[str, str]]:
    return [] if choice is None else [(choice.engine, choice.device), *order(choice.fallback)]


def test_auto_prefers_tensorrt(gpu: FakeDevice, monkeypatch: Patch) -> None:
    ladder = [("tensorrt", "cuda"), ("tensorrt-rtx", "cuda"), ("onnxruntime", "cuda")]
    assert order(choose()) == [*ladder, ("onnxruntime", "cpu")]
    assert order(choose("auto", "cuda")) == ladder
    assert choose().reason == ""
    lack(monkeypatch, "tensorrt")
    assert order(choose())[0] == ("tensorrt-rtx", "cuda")
    assert choose().reason == absent("tensorrt")
    lack(monkeypatch, "tensorrt-rtx")
    assert order(choose())[0] == ("onnxruntime", "cuda")
    assert absent("tensorrt-rtx") in choose().reason


def test_auto_passes_a_gpu_over(gpu: FakeDevice, model_folder: Path, monkeypatch: Patch) -> None:
    """TensorRT for RTX lists what it is for, and an H200 is not in it: no build is begun."""
    gpu.gpu = replace(FAKE, name="NVIDIA H200", compute_capability="9.0")
    assert order(choose())[:2] == [("tensorrt", "cuda"), ("onnxruntime", "cuda")]
    assert choose().reason == ""  # what is preferred can be had
    lack(monkeypatch, "tensorrt")
    monkeypatch.setattr(plan_cache, "model_plans", lambda *_, **__: pytest.fail("a plan"))
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "no CUDA here")
    with DeepMask.load(model_folder) as model:
        assert (model.choice.engine, model.choice.device) == ("onnxruntime", "cpu")
        assert model.choice.reason == (
            f"{absent('tensorrt')}; NVIDIA H200 has compute capability 9.0: tensorrt-rtx cannot "
            "build for SM90; it can for SM80, SM86, SM89, SM120; no CUDA here"
        )
    with pytest.raises(EngineError, match=r"--engine tensorrt-rtx: NVIDIA H200 has .* or use --en"):
        choose("tensorrt-rtx")


def test_auto_says_why_it_takes_the_cpu(no_gpu: None) -> None:
    """Without a GPU no library of TensorRT's is named, nor loaded."""
    expected = "no TensorRT: no NVIDIA driver on this machine; no CUDA here"
    assert choose() == Choice("onnxruntime", "cpu", expected)
    assert choose("onnxruntime") == Choice("onnxruntime", "cpu", "no CUDA here")
    assert choose("auto", "cpu") == choose("onnxruntime", "cpu") == Choice("onnxruntime", "cpu")


def test_where_there_is_no_card_none_is_missed(no_gpu: None, monkeypatch: Patch) -> None:
    monkeypatch.setattr(cuda, "may_have_gpu", lambda: False)
    assert choose() == choose("onnxruntime") == Choice("onnxruntime", "cpu")
    with pytest.raises(EngineError, match=r"--device cuda: no TensorRT: no NVIDIA driver"):
        choose("auto", "cuda")


def test_an_explicit_choice_has_no_fallback(gpu: FakeDevice) -> None:
    for engine in ("tensorrt", "tensorrt-rtx"):
        assert choose(engine) == choose(engine, "cuda") == Choice(engine, "cuda")
    assert choose("onnxruntime", "cuda") == Choice("onnxruntime", "cuda")


def test_a_choice_that_cannot_be_met_is_an_error(no_gpu: None, monkeypatch: Patch) -> None:
    lack(monkeypatch, "tensorrt", "tensorrt-rtx")
    for engine in ("tensorrt", "tensorrt-rtx"):
        with pytest.raises(EngineError) as caught:
            choose(engine)
        rest = "no NVIDIA driver on this machine; or use --engine onnxruntime"
        assert str(caught.value) == f"--engine {engine}: {absent(engine)}; {rest}"
    for asked, told in (
        (("tensorrt", "cpu"), r"--engine tensorrt runs on NVIDIA GPUs only; use"),
        (("onnxruntime", "cuda"), r"^--device cuda: no CUDA here; use --device cpu$"),
        (("auto", "cuda"), r"--device cuda: no TensorRT: no NVIDIA driver .*; use"),
        (("tvm",), "engine 'tvm' on device 'auto': expected one of auto"),
    ):
        with pytest.raises(EngineError, match=told):
            choose(*asked)


@pytest.mark.parametrize(("asked", "fits"), [(None, 0), (300, 300), (3000, 3000)])
def test_tensorrt_opens_what_the_cache_gives(
    gpu: FakeDevice, model_folder: Path, tmp_path: Path, monkeypatch: Patch, asked: Any, fits: int
) -> None:
    def told(*_: object) -> None:
        pytest.fail("nothing is built")

    def plans(manifest: Manifest, folder: Path, _: Any, gpu: Any, **rest: Any) -> Any:
        rest.pop("report")("building")
        assert rest.pop("free") > 1 << 29
        built_for = {"max_side": fits, "top": 2.0, "tf32": False, "fp16": False}
        assert (gpu, rest) == (FAKE, {"cache": tmp_path, "progress": told, **built_for})
        return fake_plans(manifest, folder)

    monkeypatch.setattr(plan_cache, "model_plans", plans)
    lines: list[str] = []
    larger = {"scales": Scales(-1.0, 1.0, 0.5), "zoom": 2, "tf32": False, "fp16": False}
    options: dict[str, Any] = {"report": lines.append, "progress": told, **larger}
    with DeepMask.load(model_folder, cache=tmp_path, max_side=asked, **options) as model:
        assert model.engine.description == "tensorrt 10.99.0 on Fake GPU"
        assert model(np.zeros((40, 40, 3), np.uint8)).image_size == (40, 40)
    assert lines == ["building"]


def test_plans_are_built_once_and_found_again(
    gpu: FakeDevice, model: DeepMask, model_folder: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Through the cache itself: the first load builds four plans, the second reads them."""
    plans = real_plans(model.manifest, model_folder)
    monkeypatch.setattr(plan_cache, "build_plan", lambda _, __, name, *___: (plans[name], []))
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    for builds in (4, 0):
        lines: list[str] = []
        with DeepMask.load(model_folder, cache=tmp_path, report=lines.append) as loaded:
            assert loaded.choice.engine == "tensorrt"
            found, expected = loaded.windows(image).logits, model.windows(image).logits
            assert np.median(np.abs(found - expected)) < 0.01 * np.abs(expected).max()
        assert sum(": built in " in line for line in lines) == builds
        assert "precision fp32" in lines[-1]


def test_auto_goes_on_to_the_next(gpu: FakeDevice, model_folder: Path, monkeypatch: Patch) -> None:
    refuse, start = Mock(side_effect=EngineError("this GPU is too new")), ort_engine._open_session
    monkeypatch.setattr(plan_cache, "model_plans", refuse)
    cpu: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})
    monkeypatch.setattr(ort_engine, "_open_session", lambda a, b, c, _: start(a, b, c, cpu))
    with DeepMask.load(model_folder) as model:
        assert (model.choice.engine, model.choice.device) == ("onnxruntime", "cuda")
        assert model.choice.reason == "this GPU is too new"
    with pytest.raises(EngineError, match=r"^this GPU is too new$"):
        DeepMask.load(model_folder, engine="tensorrt")


def test_a_device_that_does_not_start(no_gpu: None, model_folder: Path, monkeypatch: Patch) -> None:
    """The library has CUDA, the machine has not: `auto` says so and takes the CPU."""
    original = ort_engine._open_session

    def without_gpu(path: Path, stage: Stage, threads: int, provider: Any) -> object:
        if provider[0] == "CUDAExecutionProvider":
            assert provider[1]["device_id"] in "01"
            assert provider[1]["cudnn_conv_algo_search"] == "HEURISTIC"
            raise DeviceError("CUDA did not start")
        return original(path, stage, threads, provider)

    monkeypatch.setattr(ort_engine, "_open_session", without_gpu)
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "")
    with DeepMask.load(model_folder) as model:
        expected = "no TensorRT: no NVIDIA driver on this machine; CUDA did not start"
        assert model.choice == Choice("onnxruntime", "cpu", expected)
    with pytest.raises(EngineError, match="--device cuda: CUDA did not start; use --device cpu"):
        DeepMask.load(model_folder, device="cuda")
    with pytest.raises(EngineError, match="--device cuda:1: CUDA did not start; use --device cpu"):
        DeepMask.load(model_folder, device="cuda:1")


def test_a_gpu_is_taken_by_its_number(gpu: FakeDevice, monkeypatch: Patch) -> None:
    asked: list[int] = []

    def opened(index: int = 0) -> FakeDevice:
        asked.append(index)
        return gpu

    monkeypatch.setattr(cuda, "open_device", opened)
    assert order(choose("auto", "cuda:1"))[0] == ("tensorrt", "cuda:1")
    assert set(asked) == {1}
    for wrong in ("cuda:", "cuda:x", "gpu", "cuda:-1", "CUDA"):
        with pytest.raises(EngineError, match=r"on auto, cpu, cuda or cuda:N"):
            choose("auto", wrong)


def test_an_onnxruntime_that_does_not_load_is_one_line(no_gpu: None, monkeypatch: Patch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name.endswith("onnxruntime"):
                raise ImportError(f"libfoo.so: cannot open shared object file\n in {name}")

    monkeypatch.delitem(sys.modules, "deepmask.runtime.engines.onnxruntime")
    monkeypatch.delattr("deepmask.runtime.engines.onnxruntime")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(EngineError, match=r"cannot be loaded: libfoo.so: [a-z ]+$"):
        choose()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'deepmask-trt\[cpu\]'"):
        choose()
