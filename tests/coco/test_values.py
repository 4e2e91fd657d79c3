"""Single values: what is a number, a box, a name of a file in its folder."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmask.coco.values import brief, leaves_folder, number, whole, xywh

NOTHING: list[Any] = [None, True, [], {}, "", "x", math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", [*NOTHING, 1.5, "1.0", " 1", "1_0", "٣", 1 << 63, 1e19, "9" * 19])
def test_what_is_no_whole_number(value: Any) -> None:
    assert whole(value) is None


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_whole_numbers_of_64_bits(value: int) -> None:
    assert whole(value) == whole(str(value)) == value
    if abs(value) < 1 << 53:
        assert whole(float(value)) == value


@pytest.mark.parametrize("value", [*NOTHING, "nan", "inf", "1e999", 10**400, "9" * 5000])
def test_what_is_no_finite_number(value: Any) -> None:
    assert number(value) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_finite_numbers(value: float) -> None:
    assert number(value) == number(repr(value)) == value


@pytest.mark.parametrize(
    "value",
    [None, [], [1, 2, 3], [1, 2, 3, -1], [1, 2, -1, 3], [1e9, 0, 1, 1], (1, 2, 3, 4), "1234"],
)
def test_what_is_no_box(value: Any) -> None:
    assert xywh(value) is None


def test_boxes() -> None:
    assert xywh([-1, 2.5, 0, "4"]) == (-1.0, 2.5, 0.0, 4.0)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "..\\a", "\\a", "a\0b"])
def test_names_that_leave_their_folder(name: str) -> None:
    assert leaves_folder(name)


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "a..b", "...", "a\\b"])
def test_names_that_stay(name: str) -> None:
    assert not leaves_folder(name)


def test_values_are_told_briefly() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    for value in (deep, list(range(10**5)), "x" * 10**5, {"a": deep}):
        assert len(brief(value)) < 100
    assert brief(None) == "null"
    assert brief([1, 2, 3]) == "[1, 2, 3]"
