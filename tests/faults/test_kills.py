"""The short form of the kills: a few of some. `python -m tests.faults` kills all, more often."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: How often each is killed; an export takes the longest.
COMMANDS = {"train": 2, "run": 2, "build": 2, "export": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are killed in forks")
@pytest.mark.slow
@pytest.mark.parametrize("kills", sorted(set(COMMANDS.values())))
def test_killed_commands_end_as_if_nothing_had_been(kills: int) -> None:
    """In a process of its own: this one has threads, which a fork would lose."""
    names = [name for name, often in COMMANDS.items() if often == kills]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kills", str(kills), *names],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == names
    assert all(int(line.split()[1]) >= kills for line in lines)
