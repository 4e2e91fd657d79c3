"""The engine cache where something is amiss: told, and engines still come or one line says why."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.plan_cache import engine_plans
from tests.runtime.cache_machine import GPU, Machine, write_model
from tests.runtime.damage import put_a_folder, truncate
from tests.runtime.fake_builder import fake_library


def put_a_foreign_plan(path: Path) -> None:
    path.write_bytes(b"another engine")


def put_a_foreign_stamp(path: Path) -> None:
    path.with_suffix(".json").write_text('{"some": "json"}', encoding="utf-8")


def remove_the_stamp(path: Path) -> None:
    path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncate, "{} was changed or cut short"),
        (put_a_foreign_plan, "{} was changed or cut short"),
        (put_a_foreign_stamp, "the description beside {} cannot be used (not of the format"),
        (remove_the_stamp, "{} has no description beside it"),
    ],
)
def test_a_damaged_cache_is_told_and_mended(machine: Machine, damage: Any, told: str) -> None:
    before = machine.plans()
    path = machine.trunk()
    damage(path)
    assert machine.plans() == before
    assert machine.built == ["trunk"]
    assert machine.lines[0].startswith(f"engine trunk: rebuilding, {told.format(path)}")
    assert machine.plans() == before
    assert machine.built == []


def test_what_is_in_the_way_of_a_plan_is_told_and_engines_still_come(machine: Machine) -> None:
    before = machine.plans()
    put_a_folder(machine.trunk())
    assert machine.plans() == before
    assert "cannot be read (Is a directory)" in machine.lines[0]
    assert any("cannot be written" in line for line in machine.lines)
    assert not list(machine.cache.glob("*tmp"))


def test_a_cache_that_cannot_be_written_is_told_once(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    machine.cache = tmp_path / "file" / "cache"
    for _ in range(2):
        plans = machine.plans()
        assert sorted(plans) == ["mask", "score", "trunk"]
        assert machine.built == ["trunk", "score", "mask"]
        told = [line for line in machine.lines if "cannot be written" in line]
        assert len(told) == 1
        assert told[0].startswith(f"Warning: {machine.cache} cannot be written (Not a directory): ")
        assert told[0].endswith("--cache")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write all")
def test_a_read_only_cache_is_used_as_it_is(machine: Machine) -> None:
    before = machine.plans()
    machine.cache.chmod(0o500)
    try:
        assert machine.plans() == before
        assert machine.built == []
        other = replace(machine, version="11.0")
        other.plans()
        assert any("cannot be written (Permission denied)" in line for line in other.lines)
    finally:
        machine.cache.chmod(0o700)


def test_ctrl_c_keeps_what_was_built(machine: Machine) -> None:
    def interrupt(graph: dict[str, Any]) -> None:
        if graph["name"] == "mask":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine_plans(
            machine.manifest,
            machine.folder,
            fake_library(building=interrupt),
            GPU,
            cache=machine.cache,
        )
    machine.plans()
    assert machine.built == ["mask"]
    assert not list(machine.cache.glob("*tmp"))


def test_warnings_are_told_by_graph(machine: Machine) -> None:
    machine.manifest = write_model(machine.folder, warns="weights clipped")
    machine.plans()
    assert "Warning: TensorRT on score: weights clipped" in machine.lines


def test_a_description_without_the_type_that_was_built_is_told(machine: Machine) -> None:
    half = {"Layers": [{"Outputs": [{"Format/Datatype": "Half"}]}]}
    machine.options = {"inspected": lambda plan: json.dumps(half)}
    machine.plans()
    expected = "TensorRT's description of engine trunk shows fp16 between its layers, and no fp32"
    assert f"Warning: {expected}" in machine.lines


def test_an_engine_that_does_not_load_is_one_line(machine: Machine) -> None:
    machine.options = {"inspected": lambda plan: None}
    with pytest.raises(EngineError, match=r"cannot load the engine .* built: the plan was refused"):
        machine.plans()
    assert machine.files(".plan") == []  # the next run builds again


def test_another_precision_than_the_models_is_an_error_each_time(machine: Machine) -> None:
    machine.manifest = replace(machine.manifest, precision="fp16")
    for _ in range(2):
        with pytest.raises(
            EngineError, match=r"said to compute in fp16, but of graph trunk's 1 .* 1 in fp32"
        ):
            machine.plans()


def test_a_model_half_of_which_falls_back_is_an_error(machine: Machine) -> None:
    layers = [["CONVOLUTION", "HALF"], ["CONVOLUTION", "FLOAT"]]
    manifest = write_model(machine.folder, layers)
    machine.manifest = replace(manifest, precision="fp16")
    with pytest.raises(EngineError, match=r"graph trunk's 2 .* are 1 in fp16, 1 in fp32; export"):
        machine.plans()


def test_a_graph_that_changed_after_it_was_checked_is_not_built(machine: Machine) -> None:
    write_model(machine.folder, [["CONVOLUTION", "HALF"]])
    with pytest.raises(EngineError, match=r"trunk\.onnx: was changed since"):
        machine.plans()
    assert machine.built == []
    assert machine.files(".plan") == []


def test_int8_with_zero_points_is_refused_before_anything_is_built(machine: Machine) -> None:
    machine.manifest = replace(machine.manifest, precision="int8")
    with pytest.raises(EngineError, match=r"does not take int8: .* --precision int8-symmetric"):
        machine.plans()
    assert machine.built == []
