"""A few inputs of each fuzzer, the same on every run; `python -m tests.fuzz` is the long form."""

from __future__ import annotations

import pytest

from tests.fuzz.driver import ENOUGH, Report, fuzz
from tests.fuzz.worker import GROWTH, SECONDS, TARGETS

INPUTS = 5


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """Feed all targets, one after the other in one process."""
    return fuzz(list(TARGETS), INPUTS)


@pytest.mark.parametrize("target", list(TARGETS))
def test_every_input_ends_in_a_result_or_one_line(reports: dict[str, Report], target: str) -> None:
    report = reports[target]
    assert report.problems() == [], str(report)
    assert report.read + report.refused == INPUTS
    assert report.slowest < SECONDS
    assert report.growth < GROWTH


@pytest.mark.parametrize(
    ("target", "read", "refused", "problem"),
    [
        ("pictures", ENOUGH, 0, "no input was refused: the damage is too mild"),
        ("pictures", 0, ENOUGH, "no input was read: the damage is too rough"),
        ("pictures", 1, ENOUGH - 1, ""),
        ("pictures", ENOUGH - 1, 0, ""),
        ("training log", ENOUGH, 0, ""),
        ("checkpoints", 0, ENOUGH, ""),
    ],
)
def test_damage_that_tells_nothing_is_a_problem(
    target: str, read: int, refused: int, problem: str
) -> None:
    report = Report(target, read, refused)
    assert report.problems() == [problem] * bool(problem)
    report.findings[7] = "crashed"
    assert report.problems()[0] == "input 7: crashed"
    assert "input 7: crashed" in str(report)
