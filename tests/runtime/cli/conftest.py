"""Pictures and a model for the command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path, scene: Callable[..., Any]) -> Path:
    """`model/`, and three pictures in `pictures/`."""
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(["a.png", "000000000042.jpg", "c.bmp"]):
        Image.fromarray(scene(seed, 80, 100).image).save(tmp_path / "pictures" / name)
    return tmp_path
