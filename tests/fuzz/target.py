"""One reader under attack: what it is fed, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


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
