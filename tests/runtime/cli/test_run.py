"""`deepmask-trt-run` as it is installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from deepmask.runtime.cli.run import command
from deepmask.runtime.engines.choose import DEVICES, ENGINES, choose
from deepmask.runtime.io.images import MAX_PIXELS
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.predict import deepmask

COMMAND = str(Path(sys.executable).with_name("deepmask-trt-run"))


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command on the CPU in a folder."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path, scene: Callable[..., Any]) -> Path:
    """`model/`, and three pictures in `pictures/`."""
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(["a.png", "000000000042.jpg", "c.bmp"]):
        Image.fromarray(scene(seed, 80, 100).image).save(tmp_path / "pictures" / name)
    return tmp_path


def test_one_image(folder: Path) -> None:
    """JSON, map, overlay, and a summary with engine, times and the best proposals."""
    done = run(
        *("pictures/a.png", "--model", "model", "--device", "cpu", "--proposals", 50),
        *("--out", "p.json", "--overlay", "o.png", "--top", 4),
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads((folder / "p.json").read_text())
    assert 0 < len(results) <= 50
    assert {result["image_id"] for result in results} == {1}
    with Image.open(folder / "o.png") as overlay, Image.open(folder / "pictures/a.png") as image:
        assert overlay.size == image.size
        assert (np.asarray(overlay) != np.asarray(image)).any()
    lines = done.stdout.splitlines()
    assert lines[0] == "model   squares, fp32"
    assert lines[1].startswith("engine  onnxruntime 1.")
    assert "on CPU" in lines[1]
    stages = next(line for line in lines if "decode" in line).split()
    assert stages == ["decode", "resize", "trunk", "score", "select", "mask", "encode", "total"]
    header = next(index for index, line in enumerate(lines) if line.split()[:1] == ["rank"])
    rows = [line.split() for line in lines[header + 1 :] if line.split()[0].isdecimal()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert [float(v) for v in rows[0][2:6]] == results[0]["bbox"]
    assert len({len(line) for line in lines[header : header + 5]}) == 1


def test_auto_prints_what_it_chose_and_why(folder: Path) -> None:
    """The reason stands beside the engine; there is none where the best one was taken."""
    done = run("pictures/a.png", "--model", "model", "--cache", "cache", cwd=folder)
    assert done.returncode == 0
    reason = choose().reason
    assert (f" (auto: {reason})" in done.stdout) == bool(reason)


def test_folder_with_a_broken_file(folder: Path) -> None:
    """The others are done, the failed ones named at the end, exit code 1."""
    (folder / "pictures" / "b.jpg").write_text("no picture")
    done = run(
        *("pictures", "gone.jpg", "--model", "model", "--device", "cpu", "--overlay", "drawn"),
        cwd=folder,
    )
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert errors[0].startswith("Error: pictures/b.jpg: not an image that can be read")
    assert errors[1] == "Error: gone.jpg: no such file"
    assert errors[2] == "Error: 2 of 5 images failed, the others are done"
    assert "mean time of 3 images, ms" in done.stdout
    described = json.loads((folder / "proposals.images.json").read_text())["images"]
    assert {image["file_name"]: image["id"] for image in described} == {
        "000000000042.jpg": 42,
        "a.png": 1,
        "c.bmp": 3,
    }
    assert {image["height"] for image in described} == {80}
    ids = [result["image_id"] for result in json.loads((folder / "proposals.json").read_text())]
    assert set(ids) == {42, 1, 3}
    drawn = sorted(path.name for path in (folder / "drawn").iterdir())
    assert drawn == ["000000000042.png", "a.png", "c.png"]


def test_results_do_not_depend_on_the_batch(folder: Path) -> None:
    """An image alone gives what it gives among others."""
    options = ("--model", "model", "--device", "cpu", "--proposals", 30)
    done = run("pictures", *options, "--out", "all.json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar where there is no terminal
    assert (
        run("pictures/000000000042.jpg", *options, "--out", "one.json", cwd=folder).returncode == 0
    )
    every = json.loads((folder / "all.json").read_text())
    alone = json.loads((folder / "one.json").read_text())
    assert [result for result in every if result["image_id"] == 42] == alone


def test_scales_zoom_and_threshold(folder: Path) -> None:
    """Options reach the views and the masks."""
    options = ("pictures/a.png", "--model", "model", "--device", "cpu", "--proposals", 100000)
    plain = run(*options, "--scales=-1:0:1", "--out", "a.json", cwd=folder)
    assert "scales  2^-1 … 2^0 in steps of 2^1" in plain.stdout
    zoomed = run(*options, "--scales", "-1:0:1", "--zoom", "--out", "b.json", cwd=folder)
    assert "scales  2^-1 … 2^1 in steps of 2^1" in zoomed.stdout
    assert count_of(zoomed.stdout) > 2 * count_of(plain.stdout)
    twice = run(*options, "--scales=-1:0:1", "--zoom", "--zoom", "--out", "c.json", cwd=folder)
    assert "scales  2^-1 … 2^2 in steps of 2^1" in twice.stdout
    assert run(*options, "--scales=-1:0:1", "--threshold", 0.9, cwd=folder).returncode == 0
    area = [
        sum(result["bbox"][2] * result["bbox"][3] for result in json.loads(path.read_text()))
        for path in (folder / "a.json", folder / "proposals.json")
    ]
    assert area[1] < area[0]


def test_coarse_masks_of_a_refined_model(folder: Path, refined_folder: Path) -> None:
    """The same windows in the same order, with the masks of the plain model."""
    options = ("pictures/a.png", "--device", "cpu", "--proposals", 20)
    sharp = run(*options, "--model", refined_folder, "--out", "sharp.json", cwd=folder)
    assert "model   squares, fp32" in sharp.stdout
    coarse = run(*options, "--model", refined_folder, "--coarse", "--out", "c.json", cwd=folder)
    assert "model   squares, coarse, fp32" in coarse.stdout
    plain = run(*options, "--model", "model", "--out", "plain.json", cwd=folder)
    found = {name: (folder / f"{name}.json").read_text() for name in ("sharp", "c", "plain")}
    assert (sharp.returncode, coarse.returncode, plain.returncode) == (0, 0, 0)
    assert found["c"] == found["plain"] != found["sharp"]


def count_of(printed: str) -> int:
    """The number in 'N proposals in …'."""
    [line] = [line for line in printed.splitlines() if " proposals in " in line]
    return int(line.split()[0])


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "Missing argument 'IMAGE...'. (deepmask-trt-run --help explains)"),
        (
            ["a.png", "--engine", "tensorrt", "--device", "cpu"],
            2,
            "--engine tensorrt runs on NVIDIA GPUs only; use --engine onnxruntime",
        ),
        (["a.png", "--engine", "tvm"], 2, "'tvm' is not one of 'auto', 'tensorrt', "),
        (["a.png", "--model", "pictures"], 2, "pictures: no model.json there"),
        (["a.png", "--model", "model", "--coarse"], 2, "squares has no refinement, its masks are"),
        (["a.png", "--zoom", "--zoom", "--zoom"], 2, "'--zoom': 3 is not in the range 0<=x<=2"),
        (["a.png", "--scales=1:0:1"], 2, "--scales 1:0:1: from 2^1 to 2^0: powers are -8 to 5"),
        (["a.png", "--scales=1:2"], 2, "--scales 1:2: not three numbers; expected FROM:TO:STEP"),
        (["a.png", "--scales=nan:0:1"], 2, "powers are -8 to 5"),
        (["a.png", "--threshold", "1"], 2, "'--threshold': 1.0 is not in the range 0<x<1"),
        (["a.png", "--threshold", "nan"], 2, "'--threshold': nan is not a number"),
        (["a.png", "--overlap", "nan"], 2, "'--overlap': nan is not a number"),
        (["a.png", "--proposals", "0"], 2, "'--proposals': 0 is not in the range x>=1"),
        (["a.png", "--colour"], 2, "--colour"),
        (["empty", "--model", "model"], 2, "empty: no images in this folder (.jpg, "),
        (["x" * 300, "--model", "model"], 2, "cannot be read (File name too long)"),
        (["gone.png", "--model", "model"], 1, "gone.png: no such file"),
        (["pictures/a.png", "--model", "model", "--max-pixels", "9"], 1, "the limit is 9e-06"),
        (["pictures/a.png", "--model", "model", "--out", "no/p.json"], 1, "no/p.json: cannot be"),
        (["pictures/a.png", "--model", "model", "--out", "empty"], 1, "empty: is a folder, exp"),
        (
            ["pictures/a.png", "--model", "model", "--out", "model/model.json/p.json"],
            1,
            "cannot be",
        ),
        (["pictures/a.png", "--model", "model", "--overlay", "model/model.json/x"], 1, "cannot be"),
        (["a.png", "--overlay", "o.xy"], 2, "--overlay o.xy: expected a folder, or .png, .jpg"),
        (["pictures", "--overlay", "o.png"], 2, "o.png: a folder is needed for 3 images"),
    ],
)
def test_errors_are_one_line(folder: Path, arguments: list[str], code: int, text: str) -> None:
    """Exit code 2 for wrong use, 1 for failed work; no traceback."""
    (folder / "empty").mkdir()
    done = run(*arguments, cwd=folder)
    assert text in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert done.returncode == code


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_line(folder: Path) -> None:
    (folder / "empty").mkdir(mode=0o500)
    options = ("pictures/a.png", "--model", "model", "--device", "cpu")
    for output in (("--out", "empty/p.json"), ("--overlay", "empty/o.png")):
        done = run(*options, *output, cwd=folder)
        assert done.returncode == 1
        assert "cannot be written (Permission denied)" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_keeps_what_was_done(folder: Path, sent: signal.Signals) -> None:
    """Ctrl-C or SIGTERM in a long batch: valid JSON of the images that were done."""
    many = folder / "many"
    many.mkdir()
    for index in range(3000):
        (many / f"{index:04d}.png").symlink_to(folder / "pictures" / "a.png")
    process = subprocess.Popen(
        [COMMAND, "many", "--model", "model", "--device", "cpu", "--threads", "1"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        partial = list(folder.glob("proposals.json.*tmp"))
        if partial and partial[0].stat().st_size > 100_000:
            break
        time.sleep(0.02)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + sent
    described = json.loads((folder / "proposals.images.json").read_text())["images"]
    assert 0 < len(described) < 3000
    assert f"Error: interrupted after {len(described)} of 3000 images\n" == errors
    results = json.loads((folder / "proposals.json").read_text())
    assert {result["image_id"] for result in results} <= {image["id"] for image in described}
    assert not list(folder.glob("*tmp"))


def test_help_reads_like_documentation(tmp_path: Path) -> None:
    """Every option of the command with its default."""
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for option in ("--model", "--engine", "--device", "--proposals", "--scales", "--threshold"):
        assert option in done.stdout
    assert "Examples:" in done.stdout


def test_defaults_and_choices_are_the_librarys() -> None:
    """The command states them again so that --help needs no library; they must not drift."""
    options = {option.name: option for option in command.params}
    for name, known in (("engine", ENGINES), ("device", DEVICES)):
        choice = options[name].type
        assert isinstance(choice, click.Choice)
        assert tuple(choice.choices) == known
    assert options["max_pixels"].default == MAX_PIXELS


def test_without_a_shipped_model_it_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that came without weights."""
    monkeypatch.setattr(deepmask, "SHIPPED_MODEL", "nothing")
    with pytest.raises(ModelFolderError, match=r"no model came with .* \(--model DIR\)"):
        deepmask.DeepMask.load(device="cpu")
