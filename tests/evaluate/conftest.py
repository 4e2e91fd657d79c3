"""Where real data lies, if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_labels() -> Path:
    """The validation labels of the COCO subset; skips where they are absent."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("DEEPMASK_DATA", beside)) / "coco/annotations/instances_val.json"
    if not path.exists():
        pytest.skip(f"no real data: {path.name} not found; set DEEPMASK_DATA")
    return path
