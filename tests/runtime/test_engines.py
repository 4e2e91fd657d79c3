"""Choosing and running an engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deepmask.runtime import DeepMask
from deepmask.runtime.engines import Choice, EngineError, choose
from deepmask.runtime.engines import onnxruntime as ort_engine
from deepmask.runtime.engines.base import DeviceError
from deepmask.runtime.manifest import Graph, sha256_of

from .square_model import CELLS


def test_auto_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `auto` falls back, and gives its reason."""
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "no CUDA here")
    choice = choose()
    assert (choice.engine, choice.device) == ("onnxruntime", "cpu")
    assert "TensorRT" in choice.reason
    assert "no CUDA here" in choice.reason
    assert choose("onnxruntime", "cpu") == Choice("onnxruntime", "cpu", "")
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "")
    assert choose("onnxruntime").device == "cuda"


def test_an_explicit_choice_that_cannot_be_met_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to use instead."""
    with pytest.raises(EngineError, match=r"TensorRT is not supported .* use --engine onnxruntime"):
        choose("tensorrt")
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "no CUDA here")
    with pytest.raises(EngineError, match="--device cuda: no CUDA here; use --device cpu"):
        choose("auto", "cuda")
    with pytest.raises(EngineError, match="engine 'tvm' on device 'auto': expected one of auto"):
        choose("tvm")


def test_a_device_that_does_not_start(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library has CUDA, the machine has not: `auto` says so and takes the CPU."""
    original = ort_engine._open_session

    def without_gpu(path: Path, graph: Graph, device: str, threads: int) -> object:
        if device == "cuda":
            raise DeviceError("CUDA did not start")
        return original(path, graph, device, threads)

    monkeypatch.setattr(ort_engine, "_open_session", without_gpu)
    monkeypatch.setattr(ort_engine, "missing_cuda", lambda: "")
    with DeepMask.load(model_folder) as model:
        assert model.choice == Choice("onnxruntime", "cpu", "CUDA did not start")
    with pytest.raises(EngineError, match="--device cuda: CUDA did not start; use --device cpu"):
        DeepMask.load(model_folder, device="cuda")


def test_without_onnxruntime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for `pip install deepmask` without an extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'deepmask\[cpu\]'"):
        choose()


def test_an_onnxruntime_that_does_not_load_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library it needs is missing, say."""

    def broken(name: str) -> None:
        raise ImportError(f"libfoo.so: cannot open shared object file\n in {name}")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(EngineError, match=r"cannot be loaded: libfoo.so: [a-z ]+$"):
        choose()


def test_tensors_go_up_and_down(model: DeepMask) -> None:
    """Non-contiguous arrays are uploaded as what they show; a fetched array is a copy."""
    engine = model.engine
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensor = engine.upload(array.transpose(2, 0, 1))
    assert engine.shape(tensor) == (4, 2, 3)
    fetched = engine.fetch(tensor)
    assert_array_equal(fetched, array.transpose(2, 0, 1))
    fetched[:] = 0
    assert_array_equal(engine.fetch(tensor), array.transpose(2, 0, 1))


def test_an_upload_outlives_the_callers_array(model: DeepMask) -> None:
    """The engine keeps what it reads from."""
    image = np.full((1, 3, 160, 160), 200, np.float32)
    expected = model.engine.run("trunk", {"image": model.engine.upload(image.copy())})
    tensor = model.engine.upload(image)
    del image
    scratch = [np.random.default_rng(k).random((1, 3, 160, 160)) for k in range(4)]
    features = model.engine.run("trunk", {"image": tensor})["features"]
    assert_array_equal(model.engine.fetch(features), model.engine.fetch(expected["features"]))
    assert len(scratch) == 4


def test_a_failing_graph_is_one_line(model: DeepMask) -> None:
    """A shape the graph cannot take."""
    wrong = model.engine.upload(np.zeros((1, 3, 15, 15), np.float32))
    with pytest.raises(EngineError, match="onnxruntime failed in graph trunk: ") as caught:
        model.engine.run("trunk", {"image": wrong})
    assert "\n" not in str(caught.value)


def test_graphs_that_are_not_what_the_manifest_says(model_folder: Path, tmp_path: Path) -> None:
    """Names at the edge differ, or the file is no graph."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    content = json.loads((folder / "model.json").read_text())
    content["graphs"]["score"]["outputs"] = ["score", "code"]
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"has inputs .* model.json says .*'code'"):
        DeepMask.load(folder, device="cpu")
    (folder / "score.onnx").write_bytes(b"no graph")
    content["graphs"]["score"]["sha256"] = sha256_of(folder / "score.onnx")
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"score.onnx: onnxruntime cannot load it"):
        DeepMask.load(folder, device="cpu")


def test_the_engine_names_itself(model_folder: Path) -> None:
    """Version, device and threads, to be printed."""
    with DeepMask.load(model_folder, device="cpu", threads=3) as model:
        assert model.engine.description.startswith("onnxruntime 1.")
        assert model.engine.description.endswith("on CPU, 3 threads")
    model.close()


def test_memory_bounds_the_windows_at_once(model: DeepMask) -> None:
    """Gathered feature windows, not only masks, count."""
    features = model.engine.upload(np.zeros((1, 256, 9, 9), np.float32))
    expected = (64 << 20) // (4 * (256 * CELLS**2 + 16**2))
    assert model._windows_at_once({"features": features}) == expected
