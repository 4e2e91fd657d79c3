"""Damage files: change bytes, exchange values of a JSON tree; and what reads such files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

#: What stands where a reader expects something sensible.
VALUES: Sequence[Any] = (
    *(None, True, False, "", "x", "9" * 400, "\x00é", "\ud800", "../../etc/passwd", "a" * 5000),
    *([], {}, [[]], [[0] * 7], [[1, 2, 3, 4, 5, "6"]], [None] * 4, {"": {}}, [1e308] * 4),
    *(0, -1, 1, 2, 3, 16, 255, 4096, 8192, 30_000, 0.5, -0.0, 1e-320, 1e308, -1e308),
    *(2**31 - 1, 2**31, 2**32, 2**53, 2**63, 10**30, 10**400, float("nan"), float("inf")),
)
#: Pieces of text formats.
PIECES = (b"[", b"{", b'"', b"-", b"e9", b"NaN", b",", b"]", b"<", b"<!--", b"&a;", b"\xff", b"\0")
#: Numbers that binary formats stumble over.
EDGES = (0, 1, 2, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(content: bytes, chance: Random) -> bytes:
    """Change bytes, overwrite numbers, drop, double or insert pieces, or cut off the end."""
    changed = bytearray(content or b"\0")
    # The beginning, where headers are, is hit as often as all the rest.
    reach = len(changed) if chance.random() < 0.5 else min(len(changed), 64)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at, length = chance.randrange(reach), chance.randint(1, 30)
        how = chance.randrange(6)
        if how == 0:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif how == 1:
            del changed[at : at + length]
        elif how == 2:
            changed[at:at] = changed[at : at + length]
        elif how == 3:
            changed[at:at] = chance.choice(PIECES)
        elif how == 4:
            size, order = chance.choice((1, 2, 4)), chance.choice(("big", "little"))
            edge = chance.choice(EDGES) & (256**size - 1)
            changed[at : at + size] = edge.to_bytes(size, order)
        else:
            changed[at : at + length] = chance.randbytes(length)
    return bytes(
        changed[: chance.randrange(len(changed) + 1)] if chance.random() < 0.1 else changed
    )


def twisted(content: Any, chance: Random, values: Sequence[Any] = VALUES) -> Any:
    """Copy a tree of lists and dictionaries with one to three values exchanged or left out."""
    content = copy.deepcopy(content)
    for _ in range(chance.randint(1, 3)):
        node: Any = content
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.8:
                node = node[key]
                continue
            if chance.random() < 0.15:
                del node[key]
            else:
                node[key] = copy.deepcopy(chance.choice(values))
            break
    return content


def exchanged(content: Any, chance: Random) -> Any:
    """Copy a tree with one or two values replaced by others of their type.

    The result is plausible, and reaches deeper than that of `twisted`.
    """
    content = copy.deepcopy(content)
    for _ in range(chance.randint(1, 2)):
        places = list(_places(content))
        node, key = chance.choice(places)
        values = [one[k] for one, k in places if type(one[k]) is type(node[key])]
        value = copy.deepcopy(chance.choice(values))
        if type(value) in (int, float):
            value = type(value)(value * chance.choice((-1, 0.25, 0.5, 1, 2)))
        node[key] = value
    return content


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Return every value of a tree of lists and dictionaries: what it is in, and where."""
    for key in node if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def damaged_json(content: Any, chance: Random, values: Sequence[Any] = VALUES) -> bytes:
    """Damage a JSON file: half of the time its values, else its bytes."""
    if chance.random() < 0.5:
        return json.dumps(twisted(content, chance, (*VALUES, *values))).encode()
    return damaged(json.dumps(content).encode(), chance)


@dataclass(frozen=True)
class Target:
    """A reader of files.

    make      a hostile file's bytes; the same for the same `Random`.
    read      reads that file and uses what it holds; anything it returns is good.
    refusals  what it may raise instead: an error whose text is one line.
    """

    name: str
    make: Callable[[Random], bytes]
    read: Callable[[Path], object]
    refusals: tuple[type[Exception], ...]
