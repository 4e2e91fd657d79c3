"""What every engine must do, on each of them: TensorRT's runs on a fake GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from deepmask.runtime.engines.base import Engine
from deepmask.runtime.engines.choose import Choice, open_engine
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.folder import load_manifest
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import fake_library, fake_plans

IMAGE = (1, 3, 128, 160)


@pytest.fixture(params=["onnxruntime", "openvino", "tensorrt"])
def engine(request: pytest.FixtureRequest, model_folder: Path) -> Iterator[Engine]:
    manifest = load_manifest(model_folder)
    if request.param != "tensorrt":
        opened, _ = open_engine(Choice(request.param, "cpu"), manifest, model_folder, threads=1)
    else:
        device = FakeDevice()
        plans = fake_plans(manifest, model_folder)
        opened = TensorRTEngine(manifest, plans, fake_library(device), device)
    with opened:
        yield opened


def image(seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 255, IMAGE).astype(np.float32)


def scores(engine: Engine, seed: int) -> npt.NDArray[np.float32]:
    features = engine.run("trunk", {"image": engine.upload(image(seed))})
    return engine.fetch(engine.run("score", features)["score"])


def test_arrays_go_up_as_they_look_and_come_down_as_copies(engine: Engine) -> None:
    """Also with odd strides; what becomes of the caller's array afterwards does not matter."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    view = array.transpose(2, 0, 1)
    expected = view.copy()
    tensor = engine.upload(view)
    array[:] = 0
    assert engine.shape(tensor) == (4, 2, 3)
    fetched = engine.fetch(tensor)
    assert_array_equal(fetched, expected)
    fetched[:] = 0
    assert_array_equal(engine.fetch(tensor), expected)


def test_buffers_are_the_tensors_memory(engine: Engine) -> None:
    tensors = []
    for value in range(5):
        buffer = engine.buffer((2, 3), np.float32)
        assert buffer.array.shape == (2, 3)
        assert buffer.array.dtype == np.float32
        assert buffer.array.flags.c_contiguous
        buffer.array[:] = value
        tensors.append(engine.send(buffer))
        del buffer
    with engine.fetched(tensors) as arrays:
        assert [array.tolist() for array in arrays] == [[[v] * 3] * 2 for v in range(5)]
    with engine.fetched([]) as arrays:
        assert arrays == []


def test_outputs_outlive_their_inputs(engine: Engine) -> None:
    features = engine.run("trunk", {"image": engine.upload(image(0))})["features"]
    expected = engine.fetch(features)
    for seed in range(1, 5):
        scores(engine, seed)
    assert_array_equal(engine.fetch(features), expected)


def test_graphs_follow_each_other_on_the_device(engine: Engine, model_folder: Path) -> None:
    features = engine.run("trunk", {"image": engine.upload(image(0))})
    locations = np.array([[0, 0], [2, 3]])
    both = engine.run("mask", {**features, "locations": engine.upload(locations)})["mask"]
    for index in range(2):
        given = {**features, "locations": engine.upload(locations[index : index + 1])}
        one = engine.run("mask", given)["mask"]
        assert_array_equal(engine.fetch(one)[0], engine.fetch(both)[index])
    assert engine.most_windows >= 2


def test_four_threads_get_four_equal_results(engine: Engine) -> None:
    expected = [scores(engine, seed) for seed in range(3)]
    start = threading.Barrier(4)

    def run(index: int) -> list[npt.NDArray[np.float32]]:
        start.wait()
        return [scores(engine, (index + turn) % 3) for turn in range(6)]

    with ThreadPoolExecutor(4) as pool:
        for index, found in enumerate(pool.map(run, range(4))):
            for turn, array in enumerate(found):
                assert_array_equal(array, expected[(index + turn) % 3])


def test_marks_are_moments_in_order(engine: Engine) -> None:
    first = engine.mark()
    features = engine.run("trunk", {"image": engine.upload(image(0))})
    second = engine.mark()
    engine.run("score", features)
    third = engine.mark()
    engine.fetch(features["features"])
    spans = [engine.seconds(first, second), engine.seconds(second, third)]
    assert min(spans) > 0
    assert engine.seconds(first, third) == pytest.approx(sum(spans))
    engine.close()
    engine.close()  # which does no harm
