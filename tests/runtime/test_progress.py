"""Progress: what it says of time."""

from __future__ import annotations

import pytest

from deepmask.runtime.progress import duration


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9e4, "25 h")],
)
def test_duration(seconds: float, told: str) -> None:
    assert duration(seconds) == told
