"""The engine with the real pycuda over a stand-in for NVIDIA's driver: see `tests/stand_in`.

In a process of its own, for a driver that was loaded stays. By hand: python -m tests.stand_in
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.stand_in.build import CannotBuild, environment


@pytest.mark.slow
def test_cases_under_the_stand_in_driver() -> None:
    try:
        environment()
    except CannotBuild as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "tests.stand_in", "-x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-6000:]}{done.stderr[-2000:]}"
    assert done.stderr == ""
