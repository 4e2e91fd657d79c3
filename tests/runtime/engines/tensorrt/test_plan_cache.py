"""The plan cache: what is found, what is built again and why, and where something is amiss."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt import plan_cache
from deepmask.runtime.engines.tensorrt.build import build_plan
from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.plan_cache import find, identify, keep, path_of
from deepmask.runtime.model import half_graph
from deepmask.runtime.model.half_recall import HalfRecall
from deepmask.runtime.model.manifest import Scales, Stage
from tests.runtime.cache_machine import GPU, Machine, write_model
from tests.runtime.fake_builder import fake_library

Patch = pytest.MonkeyPatch

STAGES = ["trunk", "score", "mask", "resize"]
NEWER = replace(GPU, driver="13.0")
VERSION = "built with version 10.99.0, this is 11.0"
DRIVER = "built with driver 12.8, this is 13.0"


def test_what_was_built_is_found_again(machine: Machine) -> None:
    first = machine.plans()
    assert sorted(machine.cache.iterdir()) == plan_cache.files(machine.cache)
    assert {path.read_bytes() for path in machine.files(".plan")} == set(first.values())
    assert len(machine.files(".plan")) == len(machine.files(".json")) == 4
    said = json.loads(machine.trunk().with_suffix(".json").read_text(encoding="utf-8"))
    assert said.pop("sha256") == hashlib.sha256(machine.trunk().read_bytes()).hexdigest()
    assert said.pop("graph") == machine.manifest.stage("trunk").sha256
    assert len(said.pop("shapes")) == 16
    assert said == {
        **{"format": plan_cache.FORMAT, "flavour": "tensorrt", "version": "10.99.0"},
        **{"platform": plan_cache.PLATFORM, "gpu": "NVIDIA L4", "compute_capability": "8.9"},
        **{"driver": "12.8", "precision": "fp32", "max_side": 1333},
        **{"top": machine.manifest.views.scales.stop, "tf32": True},
    }
    assert machine.built == STAGES
    assert machine.lines[:2] == ["plan trunk: building", "plan trunk: built in 0 s"]
    assert machine.lines[-1] == "precision fp32, products in TF32"
    assert machine.plans() == first
    assert machine.built == []
    assert machine.lines == ["precision fp32, products in TF32"]


def test_plans_are_of_float16_where_recall_holds(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = []

    def half_form(content: bytes, stage: Stage) -> bytes:
        converted.append(stage.name)
        return content

    monkeypatch.setattr(half_graph, "half_form", half_form)
    manifest = replace(machine.manifest, half=HalfRecall(0.3, 0.299, 7))
    halved = replace(machine, manifest=manifest)
    halved.plans()
    assert converted == ["trunk", "score", "mask"]
    why = "AR@100 0.2990 for 0.3000 on 7 pictures; --no-fp16 keeps fp32"
    assert halved.lines[-1] == f"precision fp16 ({why}), products in TF32"
    halved.plans(fp16=False)
    assert halved.lines[0] == (
        "plan trunk: built with precision fp16, this is fp32: building again"
    )
    assert halved.lines[-1] == "precision fp32, products in TF32"
    assert len(converted) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "11.0"}, VERSION),
        ({"gpu": NEWER}, DRIVER),
        ({"version": "11.0", "gpu": NEWER}, f"{VERSION}; {DRIVER}"),
    ],
)
def test_a_new_machine_builds_again(machine: Machine, change: dict[str, Any], told: str) -> None:
    machine.plans()
    other = replace(machine, **change)
    other.plans()
    assert other.built == STAGES
    assert other.lines[0] == f"plan trunk: {told}: building again"
    assert len(other.files(".plan")) == 4  # in place of the old ones


def test_larger_pictures_build_again_and_smaller_ones_do_not(machine: Machine) -> None:
    """Plans fit the model's own largest side, 1333, at least: a call that names none has that."""
    machine.plans(max_side=300)
    assert machine.built == STAGES
    said = json.loads(machine.trunk().with_suffix(".json").read_bytes())
    assert said["max_side"] == machine.manifest.views.max_side == 1333
    machine.plans(max_side=1333)
    assert machine.built == []
    machine.plans(max_side=1500)
    machine.plans(max_side=2000)
    assert machine.built == STAGES
    told = "plan trunk: built with max side 1500, this is 2000: building again"
    assert machine.lines[0] == told
    for options in ({}, {"max_side": 1500}, {"max_side": 300}):
        machine.plans(**options)
        assert machine.built == []
    views = replace(machine.manifest.views, scales=Scales(-1.0, 1.0, 0.5))
    machine.manifest = replace(machine.manifest, views=views)
    machine.plans()
    assert machine.lines[0].startswith("plan trunk: built with shapes ")


def test_another_gpu_flavour_or_graph_has_its_own_plans(machine: Machine, tmp_path: Path) -> None:
    machine.plans()
    deeper = write_model(tmp_path / "other", layers=2)
    others = [
        replace(machine, gpu=replace(GPU, name="NVIDIA A10")),
        replace(machine, flavour="tensorrt-rtx"),
        replace(machine, folder=tmp_path / "other", manifest=deeper),
    ]
    for count, other in enumerate(others, 2):
        other.plans()
        assert other.lines[0] == "plan trunk: building"
        assert len(machine.files(".plan")) == 4 * count


def test_plans_for_tensorrt_for_rtx_are_built_ahead_for_another_machine(machine: Machine) -> None:
    """They are bound to the compute capability, not to GPU or driver."""
    here = replace(machine, flavour="tensorrt-rtx", gpu=Gpu("any", "8.9", "any"))
    plans = here.plans()
    assert {json.loads(plan)["targets"][0] for plan in plans.values()} == {"SM89"}
    there = replace(here, gpu=GPU)
    assert there.plans() == plans
    assert there.built == []
    newer = replace(here, gpu=replace(GPU, compute_capability="12.0"))
    newer.plans()
    assert newer.built == STAGES


def test_whatever_a_name_says_the_description_is_compared(machine: Machine) -> None:
    manifest, stage = machine.manifest, machine.manifest.stage("trunk")
    wanted = identify(fake_library(), GPU, manifest, stage, 1333)
    keep(machine.folder, wanted, b"plan")
    path = path_of(machine.folder, wanted).with_suffix(".json")
    good = json.loads(path.read_bytes())
    assert find(machine.folder, wanted) == b"plan"
    foreign = f"the description beside {path.with_suffix('.plan')} cannot be used"
    for field in wanted:
        path.write_text(json.dumps({**good, field: -7}), encoding="utf-8")
        told = f"built with {field.replace('_', ' ')} -7, this is {wanted[field]}"
        assert find(machine.folder, wanted) == told
        path.write_text(json.dumps({**good, field: "two\nlines"}), encoding="utf-8")
        assert "\n" not in str(find(machine.folder, wanted))
        path.write_text(json.dumps({k: v for k, v in good.items() if k != field}))
        assert find(machine.folder, wanted) == foreign
    for content in ("", "{", "[]", "null", "[" * 100_000, '{"a":' * 5000, "\0", "\udcff"):
        path.write_bytes(content.encode(errors="surrogateescape"))
        assert find(machine.folder, wanted) == foreign


def of(path: Path) -> Path:
    return path.with_suffix(".json")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "{} was changed or cut short: {}"),
        (lambda p: p.write_bytes(b"another plan"), "{} was changed or cut short: {}"),
        (lambda p: of(p).write_text('{"a": 1}'), "the description beside {} cannot be used: {}"),
        (lambda p: of(p).unlink(), "building"),
    ],
)
def test_damage_is_mended(machine: Machine, damage: Callable[[Path], object], told: str) -> None:
    before = machine.plans()
    path = machine.trunk()
    damage(path)
    assert machine.plans() == before
    assert machine.built == ["trunk"]
    assert machine.lines[0] == "plan trunk: " + told.format(path, "building again")
    assert machine.plans() == before
    assert machine.built == []


def test_what_is_in_the_way_of_a_plan_is_told_and_plans_still_come(machine: Machine) -> None:
    before, path = machine.plans(), machine.trunk()
    path.unlink()
    path.mkdir()
    assert machine.plans() == before
    assert "cannot be read (Is a directory): building again" in machine.lines[0]
    assert any("cannot be written" in line for line in machine.lines)
    assert not list(machine.cache.glob("*tmp"))


def test_a_cache_that_cannot_be_written_is_told_once(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    machine.cache = tmp_path / "file" / "cache"
    for _ in range(2):
        assert list(machine.plans()) == machine.built == STAGES
        [told] = [line for line in machine.lines if "cannot be written" in line]
        assert told.startswith(f"Warning: {machine.cache} cannot be written (Not a directory): ")
        assert told.endswith("--cache")


def test_ctrl_c_keeps_what_was_built(machine: Machine, monkeypatch: Patch) -> None:
    def interrupted(library: Any, content: bytes, name: str, *rest: Any) -> Any:
        if name == "mask":
            raise KeyboardInterrupt
        return build_plan(library, content, name, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(plan_cache, "build_plan", interrupted)
        with pytest.raises(KeyboardInterrupt):
            machine.plans()
    machine.plans()
    assert machine.built == ["mask", "resize"]
    assert not list(machine.cache.glob("*tmp"))


def test_what_is_not_built_and_what_is_told(machine: Machine) -> None:
    """A graph that changed after it was checked; int8 with zero points; what the builder warns."""
    good = machine.manifest
    warned = write_model(machine.folder, warns=["weights clipped"])
    for manifest, told in (
        (good, r"trunk\.onnx: was changed since"),
        (replace(good, precision="int8"), r"does not take int8, .* --precision int8-symmetric"),
    ):
        machine.manifest = manifest
        with pytest.raises(EngineError, match=told):
            machine.plans()
        assert (machine.built, machine.files(".plan")) == ([], [])
    machine.manifest = warned
    machine.plans()
    assert "Warning: TensorRT on score: weights clipped" in machine.lines


def test_clearing_takes_plans_and_nothing_else(machine: Machine, monkeypatch: Patch) -> None:
    machine.plans()
    for name in ("notes.txt", "thesis.json"):
        (machine.cache / name).write_text("mine", encoding="utf-8")
    left = machine.cache / f"{machine.trunk().name}.1.0123abcd.deepmask-tmp"
    left.write_bytes(b"1234")
    assert left in plan_cache.files(machine.cache)
    size = sum(path.stat().st_size for path in plan_cache.files(machine.cache))
    assert plan_cache.clear(machine.cache) == size > 0
    assert sorted(path.name for path in machine.cache.iterdir()) == ["notes.txt", "thesis.json"]
    assert plan_cache.clear(machine.cache / "nowhere") == 0
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(machine.cache))
        assert plan_cache.default_folder() == machine.cache / "deepmask" / "plans"
    assert plan_cache.default_folder().is_absolute()


def test_where_pictures_cannot_be_resized_on_the_gpu_it_is_told(
    machine: Machine, monkeypatch: Patch
) -> None:
    """The model's own plans come all the same."""

    def refused(library: Any, content: bytes, name: str, *rest: Any) -> Any:
        if name == "resize":
            raise EngineError("FP32 GEMM is not supported")
        return build_plan(library, content, name, *rest)

    monkeypatch.setattr(plan_cache, "build_plan", refused)
    assert list(machine.plans()) == STAGES[:3]
    told = "pictures are resized by the processor: FP32 GEMM is not supported"
    assert told in machine.lines
