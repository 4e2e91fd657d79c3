"""Sets that tests change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepmask.coco.annotations import LabelledSet
from tests.coco.changed import Changed, Drawn, Json, read


@pytest.fixture
def content(drawn: Drawn) -> Json:
    """Six pictures with three objects each."""
    labels: Json = json.loads(drawn[0].read_text())
    return labels


@pytest.fixture
def changed(content: Json, drawn: Drawn, tmp_path: Path) -> Changed:
    """Read the drawn set with the fifth object changed."""

    def read_changed(change: Json) -> LabelledSet:
        content["annotations"][4].update(change)
        return read(content, drawn, tmp_path)

    return read_changed
