"""Plans from graphs: what TensorRT is asked for, how a build fails, and how it is told of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt import progress
from deepmask.runtime.engines.tensorrt.build import build_plan
from deepmask.runtime.engines.tensorrt.flavours import Library
from deepmask.runtime.engines.tensorrt.profile import Range
from deepmask.runtime.engines.tensorrt.progress import share_done
from tests.runtime.fake_builder import fake_library, graph_file

PROFILES = [{"features": Range((1, 7, 4, 4), (1, 7, 8, 8), (1, 7, top, top))} for top in (10, 20)]
GRAPH = {"inputs": {"features": [1, 7, -1, -1]}}


def build(
    library: Library | None = None, targets: tuple[str, ...] = (), **changes: Any
) -> tuple[bytes, list[str]]:
    graph = graph_file({**GRAPH, **changes})
    return build_plan(library or fake_library(), graph, "score", PROFILES, targets)


def test_what_tensorrt_is_asked_for() -> None:
    plan = json.loads(build()[0])
    assert plan["flags"] == 1 << 1  # strongly typed
    assert plan["cleared"] == []
    assert plan["set"] == ["TF32"]
    assert plan["targets"] == []
    shapes = [one["features"] for one in plan["profiles"]]
    assert shapes == [[[1, 7, 4, 4], [1, 7, 8, 8], [1, 7, top, top]] for top in (10, 20)]
    only = fake_library("tensorrt", "11.4")  # knows strongly typed networks only
    del only.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert json.loads(build(only)[0])["flags"] == 0
    with pytest.raises(EngineError, match="refuses graph score: Failed to parse"):
        build_plan(fake_library(), b"\0garbage", "score", PROFILES)


def test_targets_of_an_ahead_of_time_build() -> None:
    library = fake_library("tensorrt-rtx")
    assert json.loads(build(library, ("8.0", "12.0"))[0])["targets"] == ["SM80", "SM120"]
    with pytest.raises(EngineError, match=r"cannot build for SM90; it can for SM80, .*, SM120"):
        build(library, ("9.0",))


def test_warnings_are_given_but_for_the_harmless() -> None:
    reminders = [
        f"ModelImporter.cpp:1071: Make sure {name} has Int64 binding."
        for name in ("input locations", "output layout")
    ]
    _, warnings = build(warns=["weights were clipped", *reminders], remark="an old operator")
    assert warnings == ["an old operator", "weights were clipped"]
    assert build()[1] == []


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
        ({"inputs": {"features": [1, 8, -1, -1]}}, r"{'features': \(1, 8, -1, -1\)}, not those of"),
    ],
)
def test_failures_are_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)


def test_tensorrt_that_does_not_start_is_one_line() -> None:
    library = fake_library()

    def refuse(logger: object) -> None:
        library.messages.add("CUDA initialization failure with error: 35")
        raise TypeError("factory function returned nullptr")

    library.module.Builder = refuse  # type: ignore[attr-defined]
    with pytest.raises(
        EngineError, match=r"^tensorrt 10\.99\.0 does not start: CUDA .* error: 35$"
    ):
        build(library)


def test_progress_never_goes_back_and_ends_with_the_build() -> None:
    told: list[tuple[Any, ...]] = []
    library, graph = fake_library(steps=8), graph_file(GRAPH)
    build_plan(library, graph, "score", PROFILES, progress=lambda *line: told.append(line))
    assert {(counted, total) for counted, _, total in told} == {("building score", 100)}
    hundredths = [done for _, done, _ in told]
    assert hundredths == sorted(hundredths)
    assert 12 in hundredths
    assert [done for done in hundredths if done == 100] == [100]


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
