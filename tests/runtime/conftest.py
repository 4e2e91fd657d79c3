"""Hand-made model folders, and what they are loaded on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmask import DeepMask
from tests.runtime.cache_machine import Machine, write_model
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import load
from tests.runtime.square_model import write_square_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model that finds squares."""
    return write_square_model(tmp_path_factory.mktemp("models") / "squares")


@pytest.fixture(scope="session")
def refined_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its refined form: masks of every pixel, and coarse ones."""
    return write_square_model(tmp_path_factory.mktemp("models") / "sharp", refined=True)


@pytest.fixture(scope="session")
def model(model_folder: Path) -> Iterator[DeepMask]:
    """That model on ONNX Runtime, on one CPU thread."""
    with DeepMask.load(model_folder, engine="onnxruntime", device="cpu", threads=1) as model:
        yield model


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A model, an empty plan cache, a GPU and a TensorRT, the last two pretended."""
    return Machine(tmp_path / "model", tmp_path / "cache", write_model(tmp_path / "model"))


@pytest.fixture
def device() -> FakeDevice:
    """A GPU that is not there."""
    return FakeDevice()


@pytest.fixture
def fake(model_folder: Path, device: FakeDevice) -> Iterator[DeepMask]:
    """The model of the `model` fixture on that GPU."""
    with load(model_folder, device) as model:
        yield model
