"""One kill of the quick commands; `python -m tests.faults` is the long form, with all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("run", "build")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are killed in forks")
def test_killed_commands_end_as_if_nothing_had_been() -> None:
    """Kill them in forks of another process: this one has threads, which a fork would lose."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kills", "1", *COMMANDS],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert tuple(line.split()[0] for line in lines) == COMMANDS
    assert all(int(line.split()[1]) >= 1 for line in lines)
