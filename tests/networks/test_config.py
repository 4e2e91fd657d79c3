"""Configurations as a file may hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from deepmask.networks.config import LONGEST_ROW, ConfigError, NetworkConfig


@dataclass(frozen=True)
class AllKinds(NetworkConfig):
    text: str
    size: int
    ratio: float
    flag: bool
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    windows: tuple[tuple[int, ...], ...] = ((1, 2),)


WHOLE = AllKinds("a", 3, 0.5, True, (1, 2), ("cat", "dog"), ((3,), (4, 5)))


def test_every_kind_of_field_comes_back() -> None:
    assert AllKinds.from_dict(WHOLE.to_dict()) == WHOLE
    values = WHOLE.to_dict()
    del values["windows"]
    assert AllKinds.from_dict(values).windows == ((1, 2),)
    assert AllKinds.from_dict({**values, "ratio": 2}).ratio == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 3),
        ("text", "x" * 101),
        ("size", -1),
        ("size", 1 << 17),
        ("size", True),
        ("size", 1.0),
        ("ratio", float("nan")),
        ("ratio", float("inf")),
        ("ratio", "1"),
        ("flag", 1),
        ("sizes", [1, 2]),
        ("sizes", (1, "a")),
        ("sizes", (1,) * (LONGEST_ROW + 1)),
        ("names", (1,)),
        ("windows", (1, 2)),
        ("windows", ((1, "a"),)),
    ],
)
def test_values_of_another_type_or_beyond_reason_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} is no (str|int|float|bool|tuple) that"):
        AllKinds.from_dict({**WHOLE.to_dict(), name: value})


def test_missing_and_unknown_fields_are_told() -> None:
    values = {**WHOLE.to_dict(), "depth": 1}
    del values["text"]
    with pytest.raises(ConfigError, match=r"missing \['text'\], 1 unknown"):
        AllKinds.from_dict(values)
