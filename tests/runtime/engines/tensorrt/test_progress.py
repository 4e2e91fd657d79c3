"""A build's progress: told in hundredths, never going back, and ended by Ctrl-C."""

from __future__ import annotations

import json

import pytest

from deepmask.runtime.engines.tensorrt import progress
from deepmask.runtime.engines.tensorrt.build import build_plan
from deepmask.runtime.engines.tensorrt.progress import share_done
from tests.runtime.engines.tensorrt.test_build import GRAPH, PROFILES, build
from tests.runtime.fake_builder import fake_library


def test_progress_never_goes_back_and_ends_with_the_build() -> None:
    told: list[tuple[str, int, int]] = []

    def note(counted: str, done: int, total: int) -> None:
        told.append((counted, done, total))

    library, graph = fake_library(steps=8), json.dumps(GRAPH).encode()
    build_plan(library, graph, "score", PROFILES, progress=note)
    assert {(counted, total) for counted, _, total in told} == {("building score", 100)}
    hundredths = [done for _, done, _ in told]
    assert hundredths == sorted(hundredths)
    assert 12 in hundredths
    assert [done for done in hundredths if done == 100] == [100]


def test_a_phase_counts_as_one_step_of_the_phase_around_it() -> None:
    assert share_done({}) == 0
    assert share_done({"build": (1, 4)}) == 0.25
    assert share_done({"build": (1, 4), "tune": (1, 2)}) == 0.375
    assert share_done({"build": (4, 4), "tune": (2, 2)}) == 1


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
