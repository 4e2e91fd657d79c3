"""Plans from graphs: what TensorRT is asked for, what it holds, and how it fails or is stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.build import Plan, build_plan
from deepmask.runtime.engines.tensorrt.precision import check_precision, types_in
from deepmask.runtime.engines.tensorrt.profile import Range
from deepmask.runtime.engines.tensorrt.progress import Phases
from tests.runtime.fake_builder import fake_library

PROFILES = [
    {"features": Range((1, -1, 4, 4), (1, -1, 8, 8), (1, -1, top, top))} for top in (10, 20)
]
GRAPH = {"inputs": {"features": [1, 7, -1, -1]}, "layers": [["CONVOLUTION", "FLOAT"]]}


def build(library: Any = None, **changes: Any) -> Plan:
    graph = json.dumps({**GRAPH, **changes}).encode()
    return build_plan(library or fake_library(), graph, "score", PROFILES)


def test_what_tensorrt_is_asked_for() -> None:
    plan = json.loads(build().content)
    assert plan["flags"] == 1 << 1  # strongly typed
    assert plan["cleared"] == ["TF32"]
    assert plan["targets"] == []
    assert [one["features"] for one in plan["profiles"]] == [
        [[1, 7, 4, 4], [1, 7, 8, 8], [1, 7, top, top]] for top in (10, 20)
    ]


def test_a_library_that_knows_strongly_typed_networks_only() -> None:
    library = fake_library("tensorrt", "11.4")
    del library.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert json.loads(build(library).content)["flags"] == 0


def test_targets_of_an_ahead_of_time_build() -> None:
    library = fake_library("tensorrt-rtx")
    graph = json.dumps(GRAPH).encode()
    plan = build_plan(library, graph, "score", PROFILES, targets=["8.0", "12.0"])
    assert json.loads(plan.content)["targets"] == ["SM80", "SM120"]
    with pytest.raises(EngineError, match=r"cannot build for SM90; it can for SM80, .*, SM120"):
        build_plan(library, graph, "score", PROFILES, targets=["9.0"])


def test_the_timing_cache_is_carried_on_where_there_is_one() -> None:
    graph = json.dumps(GRAPH).encode()
    plan = build_plan(fake_library(), graph, "score", PROFILES, timing_cache=b"earlier")
    assert plan.timing_cache == b"earlier+"
    assert build(fake_library("tensorrt-rtx")).timing_cache == b""


def test_warnings_are_given_but_for_the_harmless() -> None:
    warnings = build(warns="weights were clipped", remark="an old operator").warnings
    assert warnings == ("an old operator", "weights were clipped")
    reminder = "ModelImporter.cpp:1071: Make sure input locations has Int64 binding."
    assert build(warns=reminder).warnings == ()
    assert build().warnings == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"refused": "No importer\nfor op Foo"}, "refuses graph score: No importer for op Foo"),
        ({"refused": "silence"}, "refuses graph score: it gave no reason"),
        ({"fails": ["no\ntactic"]}, "cannot build graph score: no tactic"),
        ({"fails": ["Out of memory", "no tactic"]}, "cannot build graph score: Out of memory"),
        ({"fails": []}, "cannot build graph score: it gave no reason"),
        ({"inputs": {"code": [1, 7, -1, -1]}}, r"has inputs {'code': .*}, not those of model.json"),
        ({"inputs": {"features": [7, -1, -1]}}, r"{'features': \(7, -1, -1\)}, not those of"),
    ],
)
def test_failures_are_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_graph() -> None:
    with pytest.raises(EngineError, match="refuses graph score: Failed to parse"):
        build_plan(fake_library(), b"\0garbage", "score", PROFILES)


def test_tensorrt_that_does_not_start_is_one_line() -> None:
    library = fake_library()

    def refuse(logger: object) -> None:
        library.messages.add("CUDA initialization failure with error: 35")
        raise TypeError("factory function returned nullptr")

    library.module.Builder = refuse
    with pytest.raises(EngineError) as caught:
        build(library)
    text = "tensorrt 10.99.0 does not start: CUDA initialization failure with error: 35"
    assert str(caught.value) == text


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_is_shown_on_a_terminal_alone() -> None:
    module = "tests.runtime.engines.tensorrt.test_build"
    code = f"import json; from {module} import build; build(); print('done')"
    command, root = [sys.executable, "-c", code], Path(__file__).parents[4]
    plain = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert (plain.stdout, plain.stderr) == ("done\n", "")
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", closefd=True) as screen:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=follower, cwd=root, check=True)
        os.close(follower)
        shown = screen.read1().decode()
    assert "building score" in shown
    assert "100%" in shown


def test_layers_are_counted_by_the_type_they_compute_in() -> None:
    layers = [
        ["ACTIVATION", "FLOAT"],
        ["CONVOLUTION", "HALF"],
        ["MATRIX_MULTIPLY", "HALF"],
        ["DEQUANTIZE", "FLOAT"],
        ["CONVOLUTION", "FLOAT"],  # reads what the one before it dequantised
        ["CONVOLUTION", "FLOAT"],
    ]
    assert build(layers=layers).layers == {"fp16": 2, "int8": 1, "fp32": 1}


FP32 = {"trunk": {"fp32": 20}, "score": {"fp32": 4}, "mask": {"fp32": 1}}
FP16 = {"trunk": {"fp16": 20}, "score": {"fp16": 2, "fp32": 2}, "mask": {"fp16": 1}}
INT8 = {"trunk": {"int8": 20}, "score": {"int8": 2, "fp32": 2}, "mask": {"fp32": 1}}


@pytest.mark.parametrize(
    ("asked", "good", "graph", "counts"),
    [
        ("fp32", FP32, "trunk", {"fp32": 19, "fp16": 1}),
        ("fp32", FP32, "mask", {"fp16": 1}),
        ("fp16", FP16, "trunk", {"fp32": 20}),
        ("fp16", FP16, "trunk", {"fp16": 10, "fp32": 10}),
        ("fp16", FP16, "trunk", {"fp16": 19, "fp32": 1}),
        ("fp16", FP16, "score", {"fp32": 4}),
        ("fp16", FP16, "mask", {"fp16": 1, "fp32": 1}),
        ("int8-symmetric", INT8, "trunk", {"int8": 19, "fp32": 1}),
        ("int8-symmetric", INT8, "trunk", {"fp16": 20}),
        ("int8-symmetric", INT8, "score", {"fp32": 4}),
        ("bf16", FP16, "trunk", {"fp16": 20}),
    ],
)
def test_a_layer_that_falls_back_is_an_error(
    asked: str, good: dict[str, dict[str, int]], graph: str, counts: dict[str, int]
) -> None:
    """In any graph that an export leaves nothing of in another precision."""
    told = f"the model is said to compute in {asked}, but of graph {graph}'s {sum(counts.values())}"
    with pytest.raises(EngineError, match=told):
        check_precision(asked, {**good, graph: counts})


@pytest.mark.parametrize(
    ("marked", "layers", "refused"),
    [
        ({"fp16": 4}, "HALF HALF FLOAT FLOAT", True),
        ({"fp16": 3, "fp32": 1}, "HALF HALF FLOAT FLOAT", True),
        ({"fp32": 4}, "HALF FLOAT FLOAT FLOAT", True),
        ({"fp16": 2, "fp32": 2}, "HALF HALF FLOAT FLOAT", False),
        ({"fp16": 9, "fp32": 2}, "HALF HALF FLOAT FLOAT", False),  # some were folded
        ({}, "HALF HALF FLOAT FLOAT", False),
    ],
)
def test_a_network_keeps_to_the_types_of_its_graph(
    marked: dict[str, int], layers: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What falls back is refused, and before the time that a build takes is spent."""
    monkeypatch.setattr(
        "deepmask.runtime.engines.tensorrt.build.marked_types", lambda graph: marked
    )
    kinds = [["CONVOLUTION", dtype] for dtype in layers.split()]
    built: list[object] = []
    library = fake_library(building=built.append)
    if not refused:
        assert build(library, layers=kinds).layers
        return
    told = r"of graph score's 4 convolutions .*, but of those in TensorRT's network are \d in "
    with pytest.raises(EngineError, match=told):
        build(library, layers=kinds)
    assert built == []


@pytest.mark.parametrize(
    ("asked", "held", "told"),
    [
        ("fp32", FP32, "25 convolutions and matrix products are 25 in fp32"),
        ("fp16", FP16, "25 convolutions and matrix products are 23 in fp16, 2 in fp32"),
        ("int8", INT8, "25 convolutions and matrix products are 22 in int8, 3 in fp32"),
        ("int8-symmetric", INT8, "are 22 in int8, 3 in fp32"),
    ],
)
def test_the_precision_is_told_in_numbers(
    asked: str, held: dict[str, dict[str, int]], told: str
) -> None:
    assert check_precision(asked, held).startswith(f"{asked}: of ")
    assert check_precision(asked, held).endswith(told)


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("not JSON", set()),
        ("[]", set()),
        ('{"Layers": ["conv1", "conv2"]}', set()),  # without details there are names alone
        (
            '{"Layers": [{"Inputs": [{"Format/Datatype": "Row major linear FP32"}],'
            ' "Outputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}'
            ', {"Format/Datatype": "Half"}]}, {"Inputs": [], "Outputs": [{"Format/Datatype":'
            ' "Thirty-two wide channel vectorized row major Int8 format"}]}]}',
            {"fp32", "fp16", "int8"},
        ),
    ],
)
def test_types_are_read_from_the_inspectors_text(text: str, types: set[str]) -> None:
    assert types_in(text) == types


def test_phases_inside_each_other_never_go_back() -> None:
    phases, seen = Phases(), []

    def note(change: Callable[..., None], *values: object) -> None:
        change(*values)
        seen.append(phases.done)

    note(phases.start, "build", 2)
    for step in range(2):
        note(phases.start, "tune", 4)
        for inner in range(4):
            note(phases.step, "tune", inner)
        phases.finish("tune")
        note(phases.step, "build", step)
    note(phases.step, "a phase that nobody began", 3)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1
    assert 0.1 in [round(value, 3) for value in seen] or 0.125 in seen


def test_ctrl_c_ends_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []

    def step(self: Phases, name: str, index: int) -> None:
        if index == 1:  # where Python notices the signal: in a callback out of compiled code
            raise KeyboardInterrupt

    monkeypatch.setattr(Phases, "step", step)
    with pytest.raises(KeyboardInterrupt):
        build(fake_library(building=built.append, steps=100))
    assert len(built) == 2
