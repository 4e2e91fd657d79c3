"""The short form of the fuzzers: a hundred inputs of each reader, the same on every run.

DEEPMASK_FUZZ_INPUTS asks for more of each; `python -m tests.fuzz` is the long form.
"""

from __future__ import annotations

import os

import pytest

from tests.fuzz.driver import Report, fuzz
from tests.fuzz.worker import GROWTH, SECONDS, TARGETS

INPUTS = int(os.environ.get("DEEPMASK_FUZZ_INPUTS", "120"))
#: A log's torn rows are left out, none is an error.
TAKES_ANYTHING = ("training log",)
#: Copies of whole weights would be all the work: these inputs have only the small ones.
TAKES_NOTHING = ("checkpoints", "trunk weights")


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """All targets, one after the other in one process."""
    return fuzz(list(TARGETS), INPUTS)


@pytest.mark.parametrize("target", list(TARGETS))
def test_every_input_ends_in_a_result_or_one_line(reports: dict[str, Report], target: str) -> None:
    report = reports[target]
    assert report.findings == {}, str(report)
    assert report.read + report.refused == INPUTS
    assert report.slowest < SECONDS
    assert report.growth < GROWTH
    # Damage too mild or too rough would tell nothing; a few readers take nothing, or anything.
    assert report.refused or target in TAKES_ANYTHING
    assert report.read or target in TAKES_NOTHING
