"""Models with random weights are made again when the code that makes them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

import deepmask.export
import deepmask.networks
from benchmarks import models


def test_code_of_every_folder_below_counts() -> None:
    files = set(models.code_files())
    for room in (deepmask.export, deepmask.networks):
        folder = Path(str(room.__file__)).parent
        assert set(folder.rglob("*.py")) <= files
        assert any(path.parent != folder for path in folder.rglob("*.py"))


def test_a_changed_file_gives_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tmp_path / "code.py"
    code.write_text("a = 1\n")
    monkeypatch.setattr(models, "code_files", lambda: [code])
    before = models._code_digest()
    code.write_text("a = 2\n")
    assert models._code_digest() != before
