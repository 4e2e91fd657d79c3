"""The engine cache: what is found, what is rebuilt and why, and two processes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.engines.tensorrt import plan_store
from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.plan_metadata import hash_of
from tests.runtime.cache_machine import GPU, Machine, write_model


def test_what_was_built_is_found_again(machine: Machine) -> None:
    first = machine.plans()
    assert machine.built == ["trunk", "score", "mask"]
    assert machine.lines[0] == "engine trunk: building, there is none yet"
    assert (
        machine.lines[-1] == "precision fp32: of 3 convolutions and matrix products are 3 in fp32"
    )
    assert machine.plans() == first
    assert machine.built == []
    assert machine.lines == ["precision fp32: of 3 convolutions and matrix products are 3 in fp32"]


def test_plans_are_plain_and_named_by_hashes(machine: Machine) -> None:
    plans = machine.plans()
    names = sorted(path.name for path in machine.cache.iterdir())
    assert names == [path.name for path in plan_store.files(machine.cache)]
    assert {path.read_bytes() for path in machine.files(".plan")} == set(plans.values())
    assert len(machine.files(".plan")) == len(machine.files(".json")) == 3
    assert len(machine.files(".timing")) == 1
    for path in machine.files(".json"):
        stamp = json.loads(path.read_text(encoding="utf-8"))
        assert stamp["plan"] == hash_of(path.with_suffix(".plan").read_bytes())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "10.99.1"}, "version 10.99.0 → 10.99.1"),
        ({"gpu": replace(GPU, driver="13.0")}, "driver 12.8 → 13.0"),
    ],
)
def test_a_change_of_the_machine_rebuilds_and_says_what_changed(
    machine: Machine, change: dict[str, Any], told: str
) -> None:
    before = machine.plans()
    other = replace(machine, **change)
    other.plans()
    assert other.built == ["trunk", "score", "mask"]
    assert other.lines[0] == f"engine trunk: rebuilding, {told}"
    assert len(other.files(".plan")) == len(before)  # in place of the old ones


def test_larger_pictures_rebuild_and_smaller_ones_do_not(machine: Machine) -> None:
    machine.plans(max_side=1000)
    machine.plans(max_side=2000)
    assert len(machine.built) == 3
    assert machine.lines[0].startswith("engine trunk: rebuilding, profiles (")
    machine.plans(max_side=1000)
    assert machine.built == []


def test_another_gpu_flavour_or_graph_has_engines_of_its_own(
    machine: Machine, tmp_path: Path
) -> None:
    machine.plans()
    deeper = write_model(tmp_path / "other", [["CONVOLUTION", "FLOAT"]] * 2)
    others = [
        replace(machine, gpu=replace(GPU, name="NVIDIA A10")),
        replace(machine, flavour="tensorrt-rtx"),
        replace(machine, folder=tmp_path / "other", manifest=deeper),
    ]
    for count, other in enumerate(others, 2):
        other.plans()
        assert other.lines[0] == "engine trunk: building, there is none yet"
        assert len(machine.files(".plan")) == 3 * count


@pytest.mark.parametrize(("flavour", "ahead"), [("tensorrt", False), ("tensorrt-rtx", True)])
def test_platforms_that_share_a_folder_have_engines_of_their_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, flavour: str, ahead: bool
) -> None:
    """Over a network, say: none takes another's, nor writes over it."""
    platforms = ("linux-x86_64", "linux-aarch64", "win32-amd64")
    for count, platform in enumerate(platforms, 1):
        monkeypatch.setattr("deepmask.runtime.engines.tensorrt.plan_metadata.PLATFORM", platform)
        here = replace(machine, flavour=flavour)
        here.plans(ahead=ahead)
        assert here.lines[0] == "engine trunk: building, there is none yet"
        assert len(here.files(".plan")) == 3 * count
    stamps = [json.loads(path.read_bytes()) for path in machine.files(".json")]
    assert {one["platform"] for one in stamps} == set(platforms)
    for platform in platforms:
        monkeypatch.setattr("deepmask.runtime.engines.tensorrt.plan_metadata.PLATFORM", platform)
        here.plans(ahead=ahead)
        assert here.built == []


def test_an_engine_of_another_platform_is_told_where_it_has_ones_name(machine: Machine) -> None:
    """Whatever a name says, the description is compared."""
    machine.plans()
    path = machine.trunk().with_suffix(".json")
    stamp = json.loads(path.read_bytes())
    path.write_text(json.dumps({**stamp, "platform": "plan9-mips"}), encoding="utf-8")
    machine.plans()
    assert machine.built == ["trunk"]
    told = f"engine trunk: rebuilding, platform plan9-mips → {stamp['platform']}"
    assert machine.lines[0] == told


def test_engines_for_tensorrt_for_rtx_are_built_ahead_for_another_machine(
    machine: Machine,
) -> None:
    here = replace(machine, flavour="tensorrt-rtx", gpu=Gpu("any", (8, 9), "any", 0))
    plans = here.plans(ahead=True)
    assert {json.loads(plan)["targets"][0] for plan in plans.values()} == {"SM89"}
    there = replace(here, gpu=GPU)
    assert there.plans() == plans
    assert there.built == []


PROCESS = """
import hashlib
import os
import sys
from pathlib import Path
from tests.runtime.fake_builder import fake_library, slowly
from tests.runtime.cache_machine import GPU, write_model
from deepmask.runtime.engines.tensorrt.plan_cache import engine_plans
model, cache = Path(sys.argv[1]), Path(sys.argv[2])
built = []
def building(graph):
    built.append(graph["name"])
    slowly(0.3)(graph)
manifest = write_model(Path(sys.argv[3]))
library = fake_library(building=building, steps=1, tactics=os.getpid())
print("ready", flush=True)
sys.stdin.readline()
lines = []
plans = engine_plans(manifest, model, library, GPU, cache=cache, report=lines.append)
hashes = [hashlib.sha256(plans[name]).hexdigest() for name in ("trunk", "score", "mask")]
print(len(built), *hashes)
"""


@pytest.mark.parametrize("locks", [True, False])
def test_two_processes_at_once_both_end_with_good_engines(
    machine: Machine, tmp_path: Path, locks: bool
) -> None:
    code = PROCESS
    if not locks:  # as on Windows
        code = "import deepmask.runtime.engines.tensorrt.plan_store as s; s.fcntl = None\n" + code
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, machine.folder, machine.cache, tmp_path / str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[4],
        )
        for number in range(2)
    ]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n", one.communicate()[1]
    for one in running:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    said = sorted(one.communicate(timeout=300)[0].split() for one in running)
    assert [one.returncode for one in running] == [0, 0]
    if locks:  # one built, the other waited or came late: both have the same
        assert [line[0] for line in said] == ["0", "3"]
        assert said[0][1:] == said[1][1:]
    kept = [hash_of(plan) for plan in machine.plans().values()]
    assert machine.built == []  # each plan's description is that of this plan
    assert all(one in mine for one, *mine in zip(kept, said[0][1:], said[1][1:], strict=True))
    assert not list(machine.cache.glob("*tmp"))


@pytest.mark.parametrize("version", ["10.99.0", "11.0.0"])
@pytest.mark.parametrize("wins", [0, 1])
def test_a_plan_never_stays_with_the_description_of_another(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, wins: int, version: str
) -> None:
    """Without locks one process writes both its files between the other's two: of the same version
    of TensorRT, or of another."""
    machine.plans()
    stem, identity = (
        machine.trunk().stem,
        plan_store.read_stamp(machine.trunk().with_suffix(".json")),
    )
    one, other = (
        plan_store.Kept(plan, replace(identity, plan=hash_of(plan))) for plan in (b"one", b"other")
    )
    elsewhere = replace(other.stamp, identity=replace(one.stamp.identity, version=version))
    other = replace(other, stamp=elsewhere)
    write, written = plan_store.write_whole, list[str]()

    def interrupted(path: Path, content: bytes) -> None:
        written.append(path.suffix)
        if len(written) == 1 + wins:  # before the first file of `one`, or between the two
            for name, value in ((plan_store.PLAN, other.plan), (plan_store.STAMP, other.stamp)):
                text = value if isinstance(value, bytes) else plan_store.dumps(value).encode()
                write(path.with_suffix(name), text)
        write(path, content)

    monkeypatch.setattr(plan_store, "write_whole", interrupted)
    plan_store.keep(machine.cache, stem, one)
    assert plan_store.find(machine.cache, stem, one.stamp.identity) == one
    assert len(written) == 2 + 2 * wins  # what did not fit was written again


def test_clearing_takes_engines_and_nothing_else(machine: Machine) -> None:
    machine.plans()
    (machine.cache / "notes.txt").write_text("mine", encoding="utf-8")
    (machine.cache / "thesis.json").write_text("{}", encoding="utf-8")
    left = [
        *(f"{machine.trunk().name}.1.tmp", ".new-abc_1"),  # of earlier versions
        f"{machine.trunk().name}.1.0123abcd.deepmask-tmp",
    ]
    for name in left:
        (machine.cache / name).write_bytes(b"1234")
    assert set(left) < {path.name for path in plan_store.files(machine.cache)}
    size = sum(path.stat().st_size for path in plan_store.files(machine.cache))
    assert plan_store.clear(machine.cache) == size > 0
    assert sorted(path.name for path in machine.cache.iterdir()) == ["notes.txt", "thesis.json"]
    assert plan_store.clear(machine.cache / "nowhere") == 0


def test_the_default_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert plan_store.default_folder() == tmp_path / "deepmask" / "engines"
    assert plan_store.default_folder().is_absolute()
