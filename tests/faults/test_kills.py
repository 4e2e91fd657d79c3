"""The short form of the kills: a few of each command. `python -m tests.faults` is the long form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = os.environ.get("DEEPMASK_FAULTS_KILLS", "3")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are killed in forks")
@pytest.mark.slow
def test_killed_commands_end_as_if_nothing_had_been() -> None:
    """In a process of its own: this one has threads, which a fork would lose."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kills", KILLS],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["train", "export", "eval", "run", "build"]
    assert all(int(line.split()[1]) >= int(KILLS) for line in lines)
