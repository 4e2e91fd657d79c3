"""No output replaces an input, or a file that this project did not make as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepmask.runtime.io import outputs
from deepmask.runtime.io.atomic import new_file
from deepmask.runtime.io.outputs import (
    MisplacedError,
    RefusedError,
    UnwritableError,
    require_folder,
    require_writable,
)
from deepmask.runtime.io.results import PICTURES, ResultsWriter, write_picture

PICTURE = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photographs" / "a.png"
    path.parent.mkdir()
    Image.fromarray(PICTURE).save(path)
    return path


def spellings(photograph: Path) -> list[Path]:
    """Other names of one file: relative, roundabout, through links to it and to its folder."""
    folder = photograph.parent
    link, hard, place = folder / "link.png", folder / "hard.png", folder.parent / "place"
    link.symlink_to(photograph)
    os.link(photograph, hard)
    place.symlink_to(folder)
    roundabout = folder / ".." / folder.name / photograph.name
    return [photograph, roundabout, link, hard, place / photograph.name]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("force", [False, True])
def test_an_input_is_never_replaced(photograph: Path, force: bool) -> None:
    for path in spellings(photograph):
        with pytest.raises(RefusedError, match=f"^--overlay .*{path.name}: is an input"):
            require_writable({"--overlay": [path]}, [photograph], force)
        with pytest.raises(RefusedError, match=r"^--overlay .*a\.png: is an input"):
            require_writable({"--overlay": [photograph]}, [path], force)


def test_names_that_differ_in_case_are_one_file_where_the_file_system_says_so(
    photograph: Path,
) -> None:
    """Stands for such a file system: it gives A.PNG the number of a.png."""
    other = photograph.with_name("A.PNG")
    os.link(photograph, other)
    with pytest.raises(RefusedError, match=r"A\.PNG: is an input"):
        require_writable({"--overlay": [other]}, [photograph])
    # Two outputs are no files yet, so their names are compared as such a file system would.
    first, second = photograph.with_name("ä.png"), photograph.with_name("A\u0308.PNG")
    with pytest.raises(RefusedError, match=r"is the same file as --out .*: give"):
        require_writable({"--out": [first], "--overlay": [second]}, [photograph])


def test_a_strangers_file_is_replaced_only_by_force(photograph: Path) -> None:
    with pytest.raises(RefusedError, match="exists and was not made by deepmask-trt, or w"):
        require_writable({"--out": [photograph]}, [])
    require_writable({"--out": [photograph]}, [], force=True)
    broken = photograph.with_name("broken.json")
    broken.symlink_to("nowhere")
    with pytest.raises(RefusedError, match="exists and was not made by"):
        require_writable({"--out": [broken]}, [])


@pytest.mark.parametrize("suffix", PICTURES)
def test_our_pictures_are_replaced_unless_they_were_changed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    rng = np.random.default_rng(0)
    write_picture(path, rng.integers(0, 255, (200, 300, 3)).astype(np.uint8))
    with Image.open(path) as picture:
        assert picture.size == (300, 200)
    require_writable({"--overlay": [path]}, [])
    with path.open("ab") as file:
        file.write(b" ")
    with pytest.raises(RefusedError, match="not made by deepmask-trt, or was changed since: give"):
        require_writable({"--overlay": [path]}, [])
    require_writable({"--overlay": [path]}, [], force=True)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_our_results_are_replaced_and_those_of_another_tool_are_not(
    tmp_path: Path, count: int
) -> None:
    """Though they have the very same layout."""
    result = {"image_id": 1, "category_id": 1, "segmentation": {"size": [4, 6], "counts": "a"}}
    with ResultsWriter(tmp_path / "p.json") as writer:
        writer.add([{**result, "bbox": [0, 0, 1, 1], "score": 0.5}] * count, 1, "a.png", 4, 6)
    for path in (tmp_path / "p.json", tmp_path / "p.images.json"):
        require_writable({"--out": [path]}, [])
        other = path.with_name(f"another-{path.name}")
        shutil.copy(path, other)
        with pytest.raises(RefusedError, match="exists and was not made by deepmask-trt"):
            require_writable({"--out": [other]}, [])


def test_a_file_without_content_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    require_writable({"--out": [tmp_path / "new"]}, [])


def test_two_outputs_are_not_one_file(tmp_path: Path) -> None:
    same = tmp_path / "x" / ".." / "p.png"
    with pytest.raises(RefusedError, match=r"--overlay .*: is the same file as --out "):
        require_writable({"--out": [tmp_path / "p.png"], "--overlay": [same]}, [])


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_device_is_never_replaced() -> None:
    with pytest.raises(RefusedError, match="--out /dev/null: is a device"):
        require_writable({"--out": [Path("/dev/null")]}, [], force=True)


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(MisplacedError, match=r"^--out .*p\.json: cannot be written \(Not a dir"):
        require_writable({"--out": [file / "p.json"]}, [])
    with pytest.raises(RefusedError, match="is a folder, expected the name of a file"):
        require_writable({"--out": [tmp_path]}, [])
    require_writable({"--out": [tmp_path / "new" / "deep" / "p.json"]}, [])
    require_folder("--out", tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == [file]  # tried, and nothing left

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(outputs, "new_file", refuse)
    with pytest.raises(UnwritableError, match=r"new: cannot be written \(Permission denied\)"):
        require_writable({"--out": [tmp_path / "new"]}, [])
    with pytest.raises(UnwritableError, match=r"^--out .*: cannot be written \(Permission denied"):
        require_folder("--out", tmp_path)


def test_a_folder_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    real = new_file

    def count(path: Path) -> object:
        tried.append(path.parent)
        return real(path)

    monkeypatch.setattr(outputs, "new_file", count)
    paths = [tmp_path / part / f"{n}.png" for part in ("", "a", "b") for n in range(50)]
    require_writable({"--overlay": paths}, [])
    assert tried == [tmp_path]


def test_a_command_without_force_does_not_advise_it(photograph: Path) -> None:
    with pytest.raises(RefusedError, match=r"or was changed since: give another name$"):
        require_writable({"--out": [photograph]}, [], force=None)
