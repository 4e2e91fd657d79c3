"""What a plan was built by, of and for: a JSON beside it, compared before the plan is loaded.

A plan belongs to one version of TensorRT, one platform, GPU, driver, precision and set of shapes,
and tells none of that itself before it is loaded, which is when a foreign one crashes.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.flavours import FLAVOURS
from deepmask.runtime.engines.tensorrt.profile import Profile, Range, covers
from deepmask.runtime.validation import ContentError, check_keys, integer, mapping, number, text

FORMAT = "deepmask-plan/2"
#: Largest description that is read, in bytes.
LIMIT = 1 << 20
#: What stands for a GPU or driver that a plan is not bound to.
ANY = "any"
#: Operating system and processor: engines are not portable across these, says TensorRT, and a build
#: for a GPU elsewhere is for this platform too (`RuntimePlatform.SAME_AS_BUILD`).
PLATFORM = f"{sys.platform}-{platform.machine().lower()}"


@dataclass(frozen=True)
class Identity:
    """What must be equal for a plan to be used.

    flavour, version             of TensorRT.
    platform                     `PLATFORM` of the machine that builds and runs.
    gpu, compute_capability      the GPU's; `driver` is its CUDA version. TensorRT for RTX binds a
                                 plan to the capability alone: the other two are `ANY` there.
    precision, graph             of the model: `graph` is the SHA-256 of the ONNX file.
    profiles                     shapes; it is enough if they cover those that are wanted.
    """

    flavour: str
    version: str
    platform: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    graph: str
    profiles: tuple[Profile, ...]


@dataclass(frozen=True)
class Stamp:
    """An identity, the plan's SHA-256, seconds that it took to build, and layers by their type."""

    identity: Identity
    plan: str
    build_seconds: float
    layers: Mapping[str, int]


def identify(
    flavour: str, version: str, gpu: Gpu, precision: str, graph: str, profiles: Sequence[Profile]
) -> Identity:
    """The identity of a plan that is to be built or to be found on this platform."""
    bound = not FLAVOURS[flavour].portable
    return Identity(
        flavour=flavour,
        version=version,
        platform=PLATFORM,
        gpu=gpu.name if bound else ANY,
        compute_capability=".".join(map(str, gpu.compute_capability)),
        driver=gpu.driver if bound else ANY,
        precision=precision,
        graph=graph,
        profiles=tuple(profiles),
    )


def differences(old: Identity, new: Identity) -> list[str]:
    """One text for each field in which `old` is not what `new` asks for: the field, old → new."""
    texts = []
    for field in fields(Identity):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name == "profiles":
            if not covers(before, after):
                texts.append(f"profiles {_limits(before)} → {_limits(after)}")
        elif before != after:
            short = 12 if field.name == "graph" else None  # of a hash the beginning will do
            name = field.name.replace("_", " ")
            texts.append(f"{name} {before[:short]} → {after[:short]}")
    return texts


def hash_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return digest_of(content).hex()


def digest_of(content: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(content).digest()


def name_of(*parts: str) -> str:
    """A name, in hex, for what is told apart by these texts."""
    return hash_of("\n".join(parts).encode())


def dumps(stamp: Stamp) -> str:
    """The JSON of a stamp."""
    values = asdict(stamp)
    return (
        json.dumps(
            {"format": FORMAT, **values.pop("identity"), **values}, indent=1, ensure_ascii=False
        )
        + "\n"
    )


def read_stamp(path: Path) -> Stamp:
    """The stamp in a file; raises `ContentError` if it holds none, `OSError` if it is not there."""
    if path.stat().st_size > LIMIT:
        raise ContentError(f"over {LIMIT >> 20} MiB")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ContentError("not JSON") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ContentError(f"not of the format {FORMAT}")
    own = {field.name for field in fields(Identity)}
    check_keys(values, own | {"format", "plan", "build_seconds", "layers"}, "")
    layers = mapping(values, "layers")
    own.remove("profiles")
    identity: dict[str, Any] = {name: text(values, name) for name in own}
    return Stamp(
        Identity(**identity, profiles=_profiles(values)),
        plan=text(values, "plan"),
        build_seconds=number(values, "build_seconds", 0, 1e9),
        layers={name: integer(layers, name, 0, 1_000_000) for name in layers},
    )


def _profiles(values: dict[str, Any]) -> tuple[Profile, ...]:
    found = values["profiles"]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ContentError("profiles are not a list of objects")
    return tuple({name: _range(one, name) for name in one} for one in found)


def _range(profile: dict[str, Any], name: str) -> Range:
    limits = mapping(profile, name)
    check_keys(limits, {"min", "opt", "max"}, f"profile of {name:.60}: ")
    shapes = {}
    for key, shape in limits.items():
        if not isinstance(shape, list) or not all(type(size) is int for size in shape):
            raise ContentError(f"profile of {name:.60}: {key} is no list of whole numbers")
        shapes[key] = tuple(shape)
    return Range(**shapes)


def _limits(profiles: Sequence[Profile]) -> str:
    """The number of profiles and the largest shapes, which say most about them."""
    largest = profiles[-1].items() if profiles else ()
    return f"({len(profiles)}, " + ", ".join(f"{key} {one}" for key, one in largest) + ")"
