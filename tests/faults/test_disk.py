"""Full disks, folders that refuse files, missing files: one line of error, the rest is done."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.commands import PICTURES, Inputs

#: The disk is full after so many bytes of one file.
FULL = 60_000


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs.make(tmp_path_factory.mktemp("inputs"))


def call(*arguments: object, folder: Path, full: bool = False) -> tuple[int, list[str]]:
    """Run an installed command; return exit code and errors. A full disk ends files at `FULL`."""

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL))

    before, command = fill if full else None, list(map(str, arguments))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, preexec_fn=before)
    return done.returncode, done.stderr.splitlines()


def batch(inputs: Inputs, *options: object) -> list[object]:
    line = ["deepmask-trt-run", inputs.pictures, "--model", inputs.squares, "--device", "cpu"]
    return [*line, "--proposals", 100, *options]


def test_a_full_disk_keeps_the_images_that_were_done(inputs: Inputs, tmp_path: Path) -> None:
    """Results end after the last image that fitted, in valid JSON; the image list agrees."""
    code, errors = call(*batch(inputs, "--out", "p.json"), folder=tmp_path, full=True)
    assert code == 1
    assert errors == ["Error: p.json: cannot be written (File too large)"]
    results = json.loads((tmp_path / "p.json").read_text())
    images = json.loads((tmp_path / "p.images.json").read_text())["images"]
    assert 0 < len(images) < PICTURES
    assert {result["image_id"] for result in results} <= {image["id"] for image in images}
    call(*batch(inputs, "--out", "whole.json"), folder=tmp_path)
    assert results == json.loads((tmp_path / "whole.json").read_text())[: len(results)]


def test_a_full_disk_ends_export_and_training_in_one_line(inputs: Inputs, tmp_path: Path) -> None:
    command: list[object] = ["deepmask-export", inputs.checkpoint, "--out", "model"]
    code, errors = call(*command, folder=tmp_path, full=True)
    assert (code, len(errors)) == (1, 1)
    assert errors[0].startswith("Error: ")
    assert list(tmp_path.iterdir()) == []
    command = ["deepmask-train", "--train-annotations", inputs.labels, "--init", "random"]
    command += ["--train-images", inputs.images, "--steps", 1, "--batch", 2, "--negatives", 1]
    command += ["--preset", "deepmask-r18", "--max-octaves", 6, "--out", "run"]
    code, errors = call(*command, folder=tmp_path, full=True)
    assert (code, len(errors)) == (1, 1)
    assert "last.pt: cannot be written (File too large)" in errors[0]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"log.csv", "run.json"}


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="no folder that takes nothing, from nobody")
def test_a_folder_that_takes_nothing(inputs: Inputs, tmp_path: Path) -> None:
    code, errors = call(*batch(inputs, "--out", "/sys/p.json"), folder=tmp_path)
    assert (code, len(errors)) == (1, 1)
    assert errors[0].startswith("Error: --out /sys/p.json: cannot be written (")


def test_bad_files_among_many(inputs: Inputs, tmp_path: Path) -> None:
    """One is gone, one cut short, one a pipe: each is named, and all others are as ever."""
    folder = tmp_path / "many"
    folder.mkdir()
    names = sorted(path.name for path in inputs.pictures.iterdir())
    for name in names:
        (folder / name).symlink_to(inputs.pictures / name)
    gone, short, pipe = names[3], names[7], names[11]
    for name in (gone, short, pipe):
        (folder / name).unlink()
    (folder / gone).symlink_to("nowhere.png")
    (folder / short).write_bytes((inputs.pictures / short).read_bytes()[:500])
    os.mkfifo(folder / pipe)
    command = batch(inputs, "--out", "p.json")
    command[1] = folder
    code, errors = call(*command, folder=tmp_path)
    assert code == 1
    assert len(errors) == 4
    for name, line in zip((gone, short, pipe), errors, strict=False):
        assert line.startswith(f"Error: {folder / name}: ")
    assert errors[-1] == f"Error: 3 of {PICTURES} images failed, the others are done"
    call(*batch(inputs, "--out", "whole.json"), folder=tmp_path)
    spared = {names.index(name) + 1 for name in (gone, short, pipe)}
    expected = json.loads((tmp_path / "whole.json").read_text())
    found = json.loads((tmp_path / "p.json").read_text())
    assert found == [result for result in expected if result["image_id"] not in spared]
