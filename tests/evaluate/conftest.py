"""What several tests of the evaluation start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluate.scenes import evaluate_file, labelled_set, proposals, write
from tests.runtime.square_model import write_square_model


@pytest.fixture(scope="session")
def square_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runtime tests' hand-made model, which finds squares on gray."""
    return write_square_model(tmp_path_factory.mktemp("models") / "squares")


@pytest.fixture(scope="session")
def refined_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its refined form, with coarse masks beside."""
    return write_square_model(tmp_path_factory.mktemp("models") / "squares", refined=True)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labels.json, good.json, poor.json for ten images; whole/ is good.json evaluated."""
    folder = tmp_path_factory.mktemp("set")
    labels = labelled_set(7, images=10)
    write(folder / "labels.json", labels)
    write(folder / "good.json", proposals(7, labels, each=9))
    write(folder / "poor.json", proposals(8, labels, each=1, noise=20))
    done = evaluate_file(folder, "good", "--out", folder / "whole")
    assert done.returncode == 0, done.stderr
    return folder
