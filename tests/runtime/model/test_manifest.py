"""`model.json` and its folder: read back as written, refused when it is not as it must be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.manifest import ModelFolderError, Scales, load_manifest, write_manifest


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model to spoil."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of `model.json`."""
    content = json.loads((folder / "model.json").read_text())
    change(content)
    (folder / "model.json").write_text(json.dumps(content))


def test_round_trip(folder: Path) -> None:
    """What is written is what is read."""
    manifest = load_manifest(folder)
    write_manifest(manifest, folder)
    assert load_manifest(folder) == manifest
    assert manifest.scales.factors() == tuple(2.0 ** (k / 2) for k in range(-4, 3))


def test_the_coarse_form_is_a_model_of_its_own(refined_folder: Path, tmp_path: Path) -> None:
    """It has the plain graphs for the refined ones, and is read back from `model.json`."""
    manifest = load_manifest(refined_folder)
    assert (manifest.mask_size, manifest.graphs["mask"].inputs) == (64, ("skips", "locations"))
    coarse = manifest.coarse_form()
    assert (coarse.name, coarse.mask_size, coarse.coarse) == ("squares, coarse", 16, None)
    assert [graph.file for graph in coarse.graphs.values()] == [
        "coarse_trunk.onnx",
        "score.onnx",
        "coarse_mask.onnx",
    ]
    assert {graph.file for graph in manifest.files()} == {
        path.name for path in refined_folder.glob("*.onnx")
    }
    with pytest.raises(ModelFolderError, match=r"squares, coarse has no refinement.*--coarse"):
        coarse.coarse_form()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.update(mask_size=0), "mask_size is 0, expected a whole number 2"),
        (lambda c: c.pop("graphs"), r"coarse: keys missing \['graphs'\]"),
        (lambda c: c["graphs"].update(other={}), "coarse: no graph is called other"),
        (lambda c: c["graphs"]["mask"].update(file="../mask.onnx"), "not a plain .onnx file name"),
        (lambda c: c["graphs"]["mask"].update(inputs=["skips"]), "nothing before it makes"),
        (lambda c: c["graphs"]["trunk"].update(sha256="0" * 64), "coarse_trunk.onnx: its SHA-256"),
        (lambda c: c["graphs"]["mask"].update(file="gone.onnx"), "gone.onnx: missing"),
    ],
)
def test_what_is_wrong_with_the_coarse_form_is_named(
    refined_folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], text: str
) -> None:
    """Its graphs are checked as the others are, whether it is asked for or not."""
    folder = Path(shutil.copytree(refined_folder, tmp_path / "copy"))
    edit(folder, lambda content: change(content["coarse"]))
    with pytest.raises(ModelFolderError, match=text):
        load_manifest(folder)


def test_zoom_is_one_scale_more() -> None:
    """Factors are powers of two, both ends included, also when steps do not add up exactly."""
    assert Scales(-2.5, 0.5, 0.5).zoomed().factors()[-1] == 2
    assert Scales(-2.5, 0.5, 0.5).zoomed(2) == Scales(-2.5, 1.5, 0.5)
    assert Scales(-2.5, 0.5, 0.5).zoomed(0) == Scales(-2.5, 0.5, 0.5)
    assert len(Scales(-1, 1, 0.1).factors()) == 21


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.pop("border"), r"missing \['border'\]"),
        (lambda c: c.update(extra=1), r"unknown \['extra'\]"),
        (lambda c: c.update(format="deepmask-model/2"), "this version reads 'deepmask-model/1'"),
        (lambda c: c.update(patch="64"), "patch is '64', expected a whole number"),
        (lambda c: c.update(patch=True), "patch is True"),
        (lambda c: c.update(patch=10**9), "patch is 1000000000"),
        (lambda c: c.update(border=40), "border 40 half of it and a multiple of the"),
        (lambda c: c.update(patch=72, border=52), "patch 72 must be even and a multiple of"),
        (lambda c: c.update(border=16), "border is 16, expected a whole number 32 to 8192"),
        (lambda c: c.update(fill=float("nan")), "NaN is not a number"),
        (lambda c: c.update(threshold=1), "threshold is 1"),
        (lambda c: c.update(mean=[1, 2]), "expected three numbers"),
        (lambda c: c.update(scales={"start": 0, "stop": 90, "step": 1}), "powers are -8 to 5"),
        (lambda c: c["scales"].update(stop=10**400), "stop is 1000.* expected a number from"),
        (lambda c: c.update(scales={"start": 0, "stop": 1, "step": 0}), "step 0"),
        (lambda c: c.update(scales={"start": 0, "stop": 1, "step": 1e-9}), "fewer than 64"),
        (lambda c: c.update(graphs=[]), "graphs is .* expected an object"),
        (lambda c: c["graphs"].pop("mask"), r"missing \['mask'\]"),
        (lambda c: c["graphs"]["mask"].update(file="../mask.onnx"), "not a plain .onnx file name"),
        (lambda c: c["graphs"]["mask"].update(file="/etc/passwd"), "not a plain .onnx file name"),
        (lambda c: c["graphs"]["mask"].update(file="a\\b.onnx"), "not a plain .onnx file name"),
        (lambda c: c["graphs"]["mask"].update(file="gone.onnx"), "gone.onnx: missing"),
        (lambda c: c["graphs"]["mask"].update(sha256="0" * 64), "its SHA-256 is not the one"),
        (lambda c: c["graphs"]["mask"].update(sha256="0"), "not 64 hexadecimal digits"),
        (lambda c: c["graphs"]["mask"].update(inputs=["depth"]), "expected names among image"),
        (lambda c: c["graphs"]["mask"].update(inputs=[["mask"]]), "expected names among image"),
        (lambda c: c["graphs"]["mask"].update(outputs=["code"]), "no output 'mask'"),
        (lambda c: c["graphs"]["trunk"].update(inputs=["code"]), "nothing before it makes"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, change: Callable[[dict[str, Any]], object], text: str
) -> None:
    """One line that begins with the file."""
    edit(folder, change)
    with pytest.raises(ModelFolderError, match=text) as caught:
        load_manifest(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[]", "format is 'list'"),
        (b"{}" + b" " * (1 << 20), "over 1 MiB"),
    ],
)
def test_files_that_are_no_description(folder: Path, content: bytes, text: str) -> None:
    """Cut short, foreign, deep or large."""
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ModelFolderError, match=text):
        load_manifest(folder)


def test_folder_without_a_model(tmp_path: Path) -> None:
    """A wrong folder, or none."""
    with pytest.raises(ModelFolderError, match=r"no model.json there; a model is a folder"):
        load_manifest(tmp_path)
    with pytest.raises(ModelFolderError, match=r"no model.json there"):
        load_manifest(tmp_path / "nowhere")


def test_weights_in_another_file_are_refused(folder: Path) -> None:
    """A graph whose weights would be read from beside it, or from anywhere."""
    model = onnx.load(folder / "score.onnx")
    big = onnx.numpy_helper.from_array(np.zeros((64, 64), np.float32), "unused")
    model.graph.initializer.append(big)
    onnx.save(
        model,
        folder / "score.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    digest = sha256_of(folder / "score.onnx")
    edit(folder, lambda content: content["graphs"]["score"].update(sha256=digest))
    with pytest.raises(ModelFolderError, match="keeps weights in another file"):
        load_manifest(folder)
