"""A build's progress: shown on a terminal alone, never going back, and ended by Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepmask.runtime.engines.tensorrt import progress
from deepmask.runtime.engines.tensorrt.progress import share_done
from tests.runtime.engines.tensorrt.test_build import build
from tests.runtime.fake_builder import fake_library


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_is_shown_on_a_terminal_alone() -> None:
    module = "tests.runtime.engines.tensorrt.test_build"
    code = f"from {module} import build; build(); print('done')"
    command, root = [sys.executable, "-c", code], Path(__file__).parents[4]
    plain = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert (plain.stdout, plain.stderr) == ("done\n", "")
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", closefd=True) as screen:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=follower, cwd=root, check=True)
        os.close(follower)
        shown = os.read(screen.fileno(), 1 << 20).decode()
    assert "building score" in shown
    assert "100%" in shown


def test_a_phase_counts_as_one_step_of_the_phase_around_it() -> None:
    assert share_done({}) == 0
    assert share_done({"build": (1, 4)}) == 0.25
    assert share_done({"build": (1, 4), "tune": (1, 2)}) == 0.375
    assert share_done({"build": (4, 4), "tune": (2, 2)}) == 1


def test_ctrl_c_ends_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []

    def interrupted(phases: dict[str, tuple[int, int]]) -> float:
        if phases == {"Building": (2, 100)}:  # where Python notices the signal: in a callback
            raise KeyboardInterrupt
        return share_done(phases)

    monkeypatch.setattr(progress, "share_done", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(fake_library(building=built.append, steps=100))
    assert len(built) == 2


def test_a_terminal_that_goes_away_costs_no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(phases: dict[str, tuple[int, int]]) -> float:
        raise OSError("no terminal")

    monkeypatch.setattr(progress, "share_done", gone)
    assert build()[0]
