"""What several tests of the evaluation start from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def square_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runtime tests' hand-made model, which finds squares on gray."""
    path = Path(__file__).parents[1] / "runtime" / "square_model.py"
    spec = importlib.util.spec_from_file_location("square_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder: Path = module.write_square_model(tmp_path_factory.mktemp("models") / "squares")
    return folder
