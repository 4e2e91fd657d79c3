"""Validate values read from untrusted JSON."""

from __future__ import annotations

from typing import Any


class ContentError(ValueError):
    """A value that is not as it must be; the text says what is there and what is accepted."""


def check_keys(values: dict[str, Any], known: set[str], where: str) -> None:
    """Raise unless the keys are exactly the known ones; `where` begins the text."""
    if set(values) != known:
        missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
        raise ContentError(f"{where}keys missing {missing}, unknown {unknown!s:.100}")


def mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the JSON object under a key."""
    if not isinstance(values[key], dict):
        raise ContentError(f"{key} is {values[key]!r:.60}, expected an object")
    return dict(values[key])


def text(values: dict[str, Any], key: str) -> str:
    """Return the text under a key, 1 to 200 letters; none that steers a terminal."""
    value = values[key]
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise ContentError(f"{key} is {value!r:.60}, expected a text of 1 to 200 letters")
    return value


def number(values: dict[str, Any], key: str, low: float, high: float) -> float:
    """Return the number under a key, within low … high; NaN is not."""
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ContentError(f"{key} is {value!r:.60}, expected a number from {low} to {high}")
    return float(value)


def integer(values: dict[str, Any], key: str, low: int, high: int) -> int:
    """Return the whole number under a key, within low … high."""
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ContentError(f"{key} is {value!r:.60}, expected a whole number {low} to {high}")
    return value


def boolean(values: dict[str, Any], key: str) -> bool:
    """Return the truth value under a key."""
    value = values[key]
    if not isinstance(value, bool):
        raise ContentError(f"{key} is {value!r:.60}, expected true or false")
    return value


def items(values: dict[str, Any], key: str, low: int, high: int) -> list[Any]:
    """Return the list under a key, of low … high items."""
    value = values[key]
    if not isinstance(value, list | tuple) or not low <= len(value) <= high:
        raise ContentError(f"{key} is {value!r:.60}, expected a list of {low} to {high} items")
    return list(value)
