"""How far training is, told by time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deepmask.train.loop import Schedule, run_loop
from deepmask.train.pace import Pace
from tests.train.small import Fresh, Maker


def test_the_first_step_is_told_and_then_one_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace(step=20, steps=40)  # resumed
    lines = []
    for step in range(21, 28):
        now += 4.0
        lines.append(pace.line(step))
    assert lines == [
        "step 21/40  4 s, 0.25 steps per second, 76 s left",
        *("", ""),
        "step 24/40  16 s, 0.25 steps per second, 64 s left",
        *("", ""),
        "step 27/40  28 s, 0.25 steps per second, 52 s left",
    ]
    now += 11
    pace.told()
    assert pace.line(28) == ""


@pytest.mark.parametrize("bar", [False, True])
def test_a_run_tells_its_first_step(
    tmp_path: Path, maker: Maker, fresh: Fresh, bar: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar shows that itself."""
    told: list[str] = []
    run_loop(
        *(fresh(), maker(), [], tmp_path, 1, Schedule(log_every=1000)), report=told.append, bar=bar
    )
    assert [line.split("  ")[0] for line in told][:1] == ([] if bar else ["step 1/6"])
    assert all("steps per second" in line for line in told[:-1])
    assert ("6" in capsys.readouterr().err) == bar
