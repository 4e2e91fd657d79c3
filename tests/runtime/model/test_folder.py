"""A model folder: read back as written, refused when a file is not the one it must be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.folder import (
    load_manifest,
    read_manifest,
    with_checksums,
    write_manifest,
)
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.shipped import shipped_model


@pytest.fixture
def folder(refined_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(refined_folder, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "model.json").read_text())
    change(content)
    (folder / "model.json").write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    """What is said of a folder: one line that begins with the file's path."""
    with pytest.raises(ModelFolderError) as caught:
        load_manifest(folder)
    text = str(caught.value)
    assert text.startswith(str(folder))
    assert "\n" not in text
    return text


def test_round_trip(folder: Path) -> None:
    manifest = load_manifest(folder)
    manifest = replace(manifest, about={"a": [1, {"b": None}]})
    write_manifest(manifest, folder)
    assert load_manifest(folder) == manifest
    plain = replace(manifest, categories=None, coarse=None)
    write_manifest(plain, folder)
    assert load_manifest(folder) == plain
    assert not {"categories", "coarse"} & set(json.loads((folder / "model.json").read_text()))


@pytest.mark.parametrize("name", ["fpn-lite", "fpn-lite-int8"])
def test_the_shipped_models_are_whole(name: str) -> None:
    manifest = load_manifest(shipped_model(name))
    assert manifest.name == name
    assert manifest.precision == ("int8" if name.endswith("int8") else "fp32")
    assert [stage.name for stage in manifest.stages] == [
        "score",
        "names",
        "mask-a",
        "mask-b",
        "boxes",
    ]


def test_checksums_are_taken_from_the_files(folder: Path) -> None:
    manifest = load_manifest(folder)
    assert manifest.coarse is not None
    stages, coarse_stages = (
        tuple(replace(stage, sha256="") for stage in form.stages)
        for form in (manifest, manifest.coarse)
    )
    coarse = replace(manifest.coarse, stages=coarse_stages)
    blank = replace(manifest, stages=stages, coarse=coarse)
    assert with_checksums(blank, folder) == manifest
    plain = replace(blank, coarse=None)
    assert with_checksums(plain, folder) == replace(manifest, coarse=None)


@pytest.mark.parametrize("form", [lambda c: c, lambda c: c["coarse"]])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sha256": "0" * 64}, "mask.onnx: its SHA-256 is not the one in model.json"),
        ({"file": "gone.onnx"}, "gone.onnx: missing; the folder is incomplete"),
    ],
)
def test_changed_and_missing_files_are_refused(
    folder: Path, form: Callable[[Any], Any], change: dict[str, str], text: str
) -> None:
    edit(folder, lambda c: form(c)["stages"][2].update(change))
    assert text in refusal(folder)
    assert read_manifest(folder).name == "squares"  # which opens no graph


def test_an_empty_file_is_no_graph(folder: Path) -> None:
    (folder / "mask.onnx").write_bytes(b"")
    assert "mask.onnx: has 0 bytes, which no graph has" in refusal(folder)


def test_one_file_has_one_checksum(folder: Path) -> None:
    """Each stage's would have to be compared, and only one can be right."""
    edit(folder, lambda c: c["coarse"]["stages"][1].update(sha256="0" * 64))
    assert "score.onnx: its SHA-256 is not the one in model.json" in refusal(folder)


def test_weights_in_another_file_are_refused(folder: Path) -> None:
    """A graph whose weights would be read from beside it, or from anywhere."""
    model = onnx.load(folder / "score.onnx")
    big = onnx.numpy_helper.from_array(np.zeros((64, 64), np.float32), "unused")
    model.graph.initializer.append(big)
    beside: dict[str, Any] = {
        "save_as_external_data": True,
        "location": "weights.bin",
        "size_threshold": 0,
    }
    onnx.save(model, folder / "score.onnx", **beside)
    digest = sha256_of(folder / "score.onnx")
    edit(folder, lambda c: c["stages"][1].update(sha256=digest))
    edit(folder, lambda c: c["coarse"]["stages"][1].update(sha256=digest))
    assert "score.onnx: keeps weights in another file" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b'{"fill": NaN}', "NaN is not a number"),
        (b"[]", "format is 'list'"),
        (b"{}", "format is None"),
        (b"{}" + b" " * (1 << 20), "over 1 MiB"),
    ],
)
def test_files_that_are_no_description(folder: Path, content: bytes, text: str) -> None:
    (folder / "model.json").write_bytes(content)
    assert text in refusal(folder)


@pytest.mark.parametrize("found", ["deepmask-model/1", "deepmask-model/3", 2])
def test_another_format_is_refused(folder: Path, found: object) -> None:
    (folder / "model.json").write_text(json.dumps({"format": found, "patch": 64}))
    assert refusal(folder) == (
        f"{folder / 'model.json'}: format is {found!r}, this version reads 'deepmask-model/2'; "
        "export the checkpoint again"
    )


def test_folder_without_a_model(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere"):
        told = "no model.json there; a model is a folder written by deepmask-export"
        assert told in refusal(wrong)
