"""What several tests of the evaluation start from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def square_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runtime tests' hand-made model, which finds squares on gray."""
    folder: Path = _maker().write_square_model(tmp_path_factory.mktemp("models") / "squares")
    return folder


@pytest.fixture(scope="session")
def refined_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its refined form, with coarse masks beside."""
    folder = tmp_path_factory.mktemp("models") / "squares"
    made: Path = _maker().write_square_model(folder, refined=True)
    return made


def _maker() -> ModuleType:
    path = Path(__file__).parents[1] / "runtime" / "square_model.py"
    spec = importlib.util.spec_from_file_location("square_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
