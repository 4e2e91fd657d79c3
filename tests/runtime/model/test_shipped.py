"""A model is named by its path, or as one that came with the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepmask import DeepMask
from deepmask.runtime.model import shipped
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.shipped import SHIPPED_MODEL, find_model, shipped_model, shipped_names

Patch = pytest.MonkeyPatch


def test_two_models_come_with_the_package() -> None:
    assert shipped_names() == ["fpn-lite", "fpn-lite-int8"]
    assert find_model() == find_model(SHIPPED_MODEL) == shipped_model()
    assert find_model("fpn-lite-int8").name == "fpn-lite-int8"
    assert find_model(Path("fpn-lite-int8")) == shipped_model("fpn-lite-int8")


def test_a_path_that_exists_comes_first(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fpn-lite").mkdir()
    assert find_model("fpn-lite") == Path("fpn-lite")
    assert find_model(tmp_path) == tmp_path


@pytest.mark.parametrize("wanted", ["fpn-lite-int4", "models/fpn-lite", "../fpn-lite", ".onnx"])
def test_for_what_is_neither_it_says_what_there_is(
    wanted: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = (
        f"{wanted}: no such folder, and no shipped model of that name: give fpn-lite, "
        "fpn-lite-int8, or a folder written by deepmask-export"
    )
    for look in (find_model, DeepMask.load):
        with pytest.raises(ModelFolderError) as caught:
            look(wanted)
        assert str(caught.value) == told


def test_without_shipped_models_it_asks_for_one(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(shipped, "_folder", lambda: tmp_path / "nothing")
    with pytest.raises(ModelFolderError, match=r"no model came with .* \(--model DIR\)"):
        DeepMask.load(device="cpu")
    with pytest.raises(ModelFolderError, match="of that name: give a folder written by"):
        find_model("fpn-lite")


def command(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = Path(sys.executable).with_name(name)
    return subprocess.run(
        [str(path), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def test_commands_take_names(tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 80, 3), 127, np.uint8)).save(tmp_path / "a.png")
    named = ("--model", "fpn-lite-int8", "--device", "cpu", "--engine", "onnxruntime")
    done = command("deepmask-trt-run", "a.png", *named, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fpn-lite-int8" in done.stdout
    done = command("deepmask-doctor", *named, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fpn-lite-int8, int8" in done.stdout


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("deepmask-trt-run", ["a.png", "--model"]),
        ("deepmask-doctor", ["--model"]),
        ("deepmask-eval", ["--annotations", "l.json", "--images", ".", "--model"]),
        ("deepmask-export", ["--precision", "fp16"]),
    ],
)
def test_commands_say_what_there_is(name: str, arguments: list[str], tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 80, 3), 127, np.uint8)).save(tmp_path / "a.png")
    labels = '{"images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 60}], '
    labels += '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, '
    labels += '"bbox": [5, 5, 20, 20], "area": 400, "segmentation": [[5,5,25,5,25,25,5,25]]}], '
    (tmp_path / "l.json").write_text(labels + '"categories": [{"id": 1, "name": "a"}]}')
    done = command(name, *arguments, "fpn-light", cwd=tmp_path)
    assert done.returncode == (1 if name == "deepmask-doctor" else 2), done.stderr
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("Error: ")]
    assert "fpn-light: no such" in line
    assert "fpn-lite, fpn-lite-int8" in line
