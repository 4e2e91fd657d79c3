"""A plan's description: what is in it, what is compared, and files that hold something else."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.plan_metadata import (
    ANY,
    LIMIT,
    PLATFORM,
    Identity,
    Stamp,
    differences,
    dumps,
    hash_of,
    identify,
    read_stamp,
)
from deepmask.runtime.engines.tensorrt.profile import Range
from deepmask.runtime.validation import ContentError

GPU = Gpu("NVIDIA L4", (8, 9), "12.8", 24 << 30)
PROFILES = [{"image": Range((1, 3, 16, 16), (1, 3, 32, 32), (1, 3, 64, 64))}]
OTHER_PROFILES = ({"image": Range((1, 3, 16, 16), (1, 3, 33, 33), (1, 3, 99, 99))},)
IDENTITY = identify("tensorrt", "11.4.0.106", GPU, "fp16", "ab" * 32, PROFILES)
STAMP = Stamp(IDENTITY, hash_of(b"plan"), 12.5, {"fp16": 15, "fp32": 1})


def written(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**json.loads(dumps(STAMP)), **changes}), encoding="utf-8")
    return path


def test_a_stamp_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(dumps(STAMP), encoding="utf-8")
    assert read_stamp(path) == STAMP
    assert differences(read_stamp(path).identity, IDENTITY) == []


def test_its_json_says_all_in_plain_words() -> None:
    content = json.loads(dumps(STAMP))
    assert content["flavour"] == "tensorrt"
    assert content["version"] == "11.4.0.106"
    assert content["platform"] == PLATFORM
    assert content["gpu"] == "NVIDIA L4"
    assert content["compute_capability"] == "8.9"
    assert content["driver"] == "12.8"
    assert content["precision"] == "fp16"
    assert content["graph"] == "ab" * 32
    image = {"min": [1, 3, 16, 16], "opt": [1, 3, 32, 32], "max": [1, 3, 64, 64]}
    assert content["profiles"] == [{"image": image}]
    assert content["build_seconds"] == 12.5


@pytest.mark.parametrize("name", [field.name for field in fields(Identity)])
def test_any_field_that_differs_is_named_with_old_and_new(name: str) -> None:
    value = OTHER_PROFILES if name == "profiles" else "other"
    [text] = differences(replace(IDENTITY, **{name: value}), IDENTITY)
    assert text.startswith(name.replace("_", " "))
    assert ("other" in text) or "1×3×99×99" in text
    assert " → " in text
    [back] = differences(IDENTITY, replace(IDENTITY, **{name: value}))
    assert back != text


def test_the_version_reads_old_to_new() -> None:
    old = replace(IDENTITY, version="10.16.0.72")
    assert differences(old, IDENTITY) == ["version 10.16.0.72 → 11.4.0.106"]


def test_wider_profiles_will_do_and_narrower_ones_not() -> None:
    wide = Range((1, 3, 16, 16), (1, 3, 32, 32), (1, 3, 99, 64))
    wider = replace(IDENTITY, profiles=({"image": wide},))
    assert differences(wider, IDENTITY) == []
    assert differences(IDENTITY, wider) != []
    more = replace(IDENTITY, profiles=(*IDENTITY.profiles, {"image": wide}))
    assert differences(more, IDENTITY) != []


def test_tensorrt_for_rtx_is_bound_to_the_capability_alone() -> None:
    one = identify("tensorrt-rtx", "1.7", GPU, "fp32", "ab" * 32, PROFILES)
    other = replace(GPU, name="NVIDIA GeForce RTX 4090", driver="13.0")
    assert one == identify("tensorrt-rtx", "1.7", other, "fp32", "ab" * 32, PROFILES)
    assert (one.gpu, one.driver, one.compute_capability) == (ANY, ANY, "8.9")
    newer = replace(GPU, compute_capability=(12, 0))
    assert one != identify("tensorrt-rtx", "1.7", newer, "fp32", "ab" * 32, PROFILES)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "deepmask-plan/1"},
        {"version": 11},
        {"version": ""},
        {"profiles": "image"},
        {"profiles": [1]},
        {"profiles": [{"image": [1, 2, 3]}]},
        {"profiles": [{"image": {"min": [1], "opt": [1]}}]},
        {"profiles": [{"image": {"min": [1], "opt": [1], "max": ["1"]}}]},
        {"profiles": [{"image": {"min": [1], "opt": [1], "max": [True]}}]},
        {"layers": {"fp16": -1}},
        {"layers": []},
        {"build_seconds": float("nan")},
        {"plan": None},
        {"more": 1},
    ],
)
def test_other_content_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ContentError):
        read_stamp(written(tmp_path / "a.json", **changes))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, '{"a":' * 5000, "\0"])
def test_what_is_no_description_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(ContentError):
        read_stamp(tmp_path / "a.json")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(LIMIT + 1)
    with pytest.raises(ContentError, match="over 1 MiB"):
        read_stamp(tmp_path / "a.json")
