"""Two processes that build the same plans at once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.cache_machine import Machine

PROCESS = """
import hashlib, os, sys, time
from pathlib import Path
from deepmask.runtime.engines.tensorrt import plan_cache
from tests.runtime.cache_machine import GPU, write_model
from tests.runtime.fake_builder import fake_library
if sys.argv[4] == "False":  # as on Windows
    plan_cache.fcntl = None
built = []
def building(graph):
    built.append(graph["name"])
    time.sleep(0.1)
manifest = write_model(Path(sys.argv[3]))
library = fake_library(building=building, steps=1, tactics=os.getpid())
print("ready", flush=True)
sys.stdin.readline()
plans = plan_cache.model_plans(manifest, Path(sys.argv[1]), library, GPU, cache=Path(sys.argv[2]))
print(len(built), *(hashlib.sha256(plan).hexdigest() for plan in plans.values()))
"""


@pytest.mark.parametrize("locks", [True, False])
def test_two_processes_have_good_plans(machine: Machine, tmp_path: Path, locks: bool) -> None:
    command = [sys.executable, "-c", PROCESS, str(machine.folder), str(machine.cache)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    models = (str(tmp_path / number) for number in "01")
    running: list[Any] = [
        subprocess.Popen([*command, model, str(locks)], cwd=Path(__file__).parents[4], **pipes)
        for model in models
    ]
    assert [one.stdout.readline() for one in running] == ["ready\n"] * 2
    for one in running:
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.communicate(timeout=300)[0].split() for one in running]
    assert [one.returncode for one in running] == [0, 0]
    if locks:  # each plan was built once, and both have the same
        assert sum(int(line[0]) for line in said) == 4
        assert said[0][1:] == said[1][1:]
    kept = [hashlib.sha256(plan).hexdigest() for plan in machine.plans().values()]
    if machine.built:  # one wrote between the other's two files
        assert not locks
        assert any("was changed or cut short: building again" in line for line in machine.lines)
    else:
        assert all(one in mine for one, *mine in zip(kept, said[0][1:], said[1][1:], strict=True))
    assert not list(machine.cache.glob("*tmp"))
