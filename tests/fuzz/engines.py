"""Hostile descriptions of plans, in the cache beside a plan."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from deepmask.runtime.engines.tensorrt.plan_cache import FORMAT, Hit, Identity, find, keep, path_of
from tests.fuzz.mutations import damaged_json
from tests.fuzz.target import Target

IDENTITY: Identity = {
    "format": FORMAT,
    "flavour": "tensorrt",
    "version": "11.4.0",
    "platform": "linux-x86_64",
    "gpu": "L4",
    "compute_capability": "8.9",
    "driver": "12.8",
    "precision": "fp16",
    "graph": "ab" * 32,
    "shapes": "cd" * 8,
    "max_side": 1333,
}
GOOD = {**IDENTITY, "sha256": hashlib.sha256(b"plan").hexdigest()}


class Rebuild(Exception):
    """A plan that is not used; the text is the reason that a user is told."""


def read(path: Path) -> None:
    """Look a plan up by its description; what is no match is a reason to build again."""
    keep(path.parent, IDENTITY, b"plan")
    beside = path_of(path.parent, IDENTITY).with_suffix(".json")
    hostile = path.read_bytes()
    good = json.loads(beside.read_bytes())
    beside.write_bytes(hostile)
    found = find(path.parent, IDENTITY)
    if not isinstance(found, Hit):
        raise Rebuild(found.reason)
    values = json.loads(hostile)
    assert found.plan == b"plan"
    assert all(values[key] == good[key] for key in good if key != "max_side")
    assert values["max_side"] >= good["max_side"]


TARGETS = (
    Target(
        "plan descriptions",
        lambda chance: damaged_json(GOOD, chance, ("a\nb", 1334)),
        read,
        (Rebuild,),
    ),
)
