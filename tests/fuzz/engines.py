"""Hostile descriptions of built engines, in the cache beside a plan."""

from __future__ import annotations

import json
from pathlib import Path

from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.plan_metadata import (
    Stamp,
    differences,
    dumps,
    hash_of,
    identify,
)
from deepmask.runtime.engines.tensorrt.plan_store import PLAN, STAMP, described, find
from deepmask.runtime.engines.tensorrt.profile import Range
from tests.fuzz.mutations import damaged_json
from tests.fuzz.target import Target

PROFILES = [{"image": Range((1, 3, 16, 16), (1, 3, 32, 32), (1, 3, 64, 64))}]
IDENTITY = identify(
    "tensorrt", "11.4.0", Gpu("L4", (8, 9), "12.8", 1 << 34), "fp16", "ab" * 32, PROFILES
)
GOOD = json.loads(dumps(Stamp(IDENTITY, hash_of(b"plan"), 12.5, {"fp16": 15})))


class Rebuild(Exception):
    """A plan that is not used; the text is the reason that a user is told."""


def read(path: Path) -> None:
    """Look a plan up by its description; what is no match is a reason to build again."""
    stem = "0" * 16
    (path.parent / (stem + PLAN)).write_bytes(b"plan")
    (path.parent / (stem + STAMP)).write_bytes(path.read_bytes())
    assert all("\n" not in line for line in described(path.parent))
    found = find(path.parent, stem, IDENTITY)
    if isinstance(found, str):
        raise Rebuild(found)
    assert differences(found.stamp.identity, IDENTITY) == []


TARGETS = (
    Target(
        "engine descriptions",
        lambda chance: damaged_json(GOOD, chance, ("a\nb", {"min": [1], "opt": [], "max": [2]})),
        read,
        (Rebuild,),
    ),
)
