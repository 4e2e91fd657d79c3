"""A few inputs of each fuzzer, the same on every run; `python -m tests.fuzz` is the long form."""

from __future__ import annotations

import pytest

from tests.fuzz.driver import Report, fuzz
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
