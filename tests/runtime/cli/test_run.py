"""`deepmask-trt-run` as it is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from deepmask.runtime.cli.run import command
from deepmask.runtime.engines.choose import ENGINES, choose
from deepmask.runtime.io.images import MAX_PIXELS
from deepmask.runtime.io.written import RECORD

CPU = ("--model", "model", "--device", "cpu")
COMMAND = str(Path(sys.executable).with_name("deepmask-trt-run"))


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def results_of(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text()))


def images_of(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.with_suffix(".images.json").read_text())["images"])


def test_one_image(folder: Path) -> None:
    options = ("--proposals", 50, "--out", "p.json", "--overlay", "o.png", "--top", 4, "--parts")
    done = run("pictures/a.png", *CPU, *options, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nscales  2^" in done.stdout
    results = results_of(folder / "p.json")
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
    header = next(index for index, line in enumerate(lines) if line.split()[:1] == ["object"])
    rows = [line.split() for line in lines[header + 1 :] if line.split()[0].isdecimal()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert [float(v) for v in rows[0][2:6]] == results[0]["bbox"]
    assert len({len(line) for line in lines[header : header + 5]}) == 1


def test_auto_prints_what_it_chose_and_why(folder: Path) -> None:
    done = run("pictures/a.png", "--model", "model", "--cache", "cache", cwd=folder)
    assert done.returncode == 0
    reason = choose().reason
    assert (f" (auto: {reason})" in done.stdout) == bool(reason)


def test_folder_with_a_broken_file(folder: Path) -> None:
    (folder / "pictures" / "b.jpg").write_text("no picture")
    (folder / "bad.jpg").touch()
    done = run("pictures", "bad.jpg", *CPU, "--overlay", "drawn", cwd=folder)
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert errors[0].startswith("Error: pictures/b.jpg: not an image that can be read")
    assert errors[1] == "Error: bad.jpg: the file is empty"
    assert errors[2] == "Error: 2 of 5 images failed, the others are done"
    assert "mean time of 3 images, ms; two are in work at once and overlap" in done.stdout
    assert re.search(r"^3 images in \d+\.\d s, \d+\.\d\d images per second$", done.stdout, re.M)
    described = images_of(folder / "proposals.json")
    ids = {image["file_name"]: image["id"] for image in described}
    assert ids == {"pictures/000000000042.jpg": 42, "pictures/a.png": 1, "pictures/c.bmp": 3}
    assert {image["height"] for image in described} == {80}
    found = {result["image_id"] for result in results_of(folder / "proposals.json")}
    assert found == {42, 1, 3}
    drawn = sorted(path.name for path in (folder / "drawn" / "pictures").iterdir())
    assert drawn == [RECORD, "000000000042.png", "a.png", "c.png"]


def test_standard_input(folder: Path) -> None:
    picture = (folder / "pictures" / "a.png").read_bytes()
    done = subprocess.run(
        [COMMAND, "-", *CPU, "--overlay", "drawn"], cwd=folder, input=picture, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert images_of(folder / "proposals.json")[0]["file_name"] == "stdin"
    assert (folder / "drawn" / "stdin.png").is_file()
    done = subprocess.run([COMMAND, "-", *CPU], cwd=folder, input=b"no", capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: standard input: not an image that can be read (JPEG, ")


def test_scales_zoom_and_threshold(folder: Path) -> None:
    options = ("pictures/a.png", *CPU, "--proposals", 100000, "--scales", "-1:0:1")
    counts, area = [], {}
    for zooms in range(3):
        done = run(*options, *["--zoom"] * zooms, "--out", f"{zooms}.json", cwd=folder)
        assert f"scales  2^-1 … 2^{zooms} in steps of 2^1" in done.stdout
        [line] = [line for line in done.stdout.splitlines() if " proposals in " in line]
        counts.append(int(line.split()[0]))
    assert counts[1] > 2 * counts[0]
    assert run(*options, "--threshold", 0.9, cwd=folder).returncode == 0
    for name in ("0.json", "proposals.json"):
        boxes = [result["bbox"] for result in results_of(folder / name)]
        area[name] = sum(width * height for _, _, width, height in boxes)
    assert area["proposals.json"] < area["0.json"]


def test_coarse_masks_of_a_refined_model(folder: Path, refined_folder: Path) -> None:
    """The same windows in the same order, with the masks of the plain model."""
    found = {}
    for name, model, told in (
        ("sharp", (refined_folder,), "squares, fp32"),
        ("coarse", (refined_folder, "--coarse"), "squares, coarse, fp32"),
        ("plain", ("model",), "squares, fp32"),
    ):
        options = ("--device", "cpu", "--proposals", 20, "--model", *model, "--out", name)
        done = run("pictures/a.png", *options, cwd=folder)
        assert done.returncode == 0
        assert f"model   {told}" in done.stdout
        found[name] = (folder / name).read_text()
    assert found["coarse"] == found["plain"] != found["sharp"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "Missing argument 'IMAGE...'. (deepmask-trt-run --help explains)"),
        (["a.png", "--engine", "tensorrt", *CPU], 2, "--engine tensorrt runs on NVIDIA GPUs only"),
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
        (["pictures", "gone.png", "--model", "no model"], 2, "gone.png: no such file"),
        (["pictures/a.png", "--model", "model", "--max-pixels", "9"], 1, "the limit is 9e-06"),
        (["pictures/a.png", *CPU, "--out", "pictures/a.png", "--force"], 2, "a.png: is an input"),
        (["pictures", *CPU, "--overlay", "pictures/../pictures"], 2, "pictures/a.png: is an input"),
        (
            ["pictures/a.png", *CPU, "--out", "model/model.json", "--force"],
            2,
            "is an input, which is nev",
        ),
        (["http://example.org/a.png"], 2, "http://example.org/a.png: is a URL; download it first"),
        (["pictures/a.png", *CPU, "--out", "-"], 2, "results go to files"),
        (["pictures/a.png", *CPU, "--html", "-"], 2, "results go to files"),
        (["pictures/a.png", *CPU, "--overlay", "-"], 2, "results go to files"),
        (["pictures/*.gif"], 2, "pictures/*.gif: no image matches this pattern"),
        (["-", "a.png"], 2, "-: standard input is one image, give it alone"),
        (["pictures/a.png", "--model", "model", "--out", "empty"], 2, "empty: is a folder, exp"),
        (["pictures/a.png", *CPU, "--out", "model/model.json/p.json"], 2, "cannot be"),
        (["pictures/a.png", *CPU, "--overlay", "model/model.json/x"], 2, "cannot be"),
        (["a.png", "--overlay", "o.xy"], 2, "--overlay o.xy: expected a folder, or .png, .jpg"),
        (["pictures", "--overlay", "o.png"], 2, "o.png: a folder is needed for 3 images"),
    ],
)
def test_errors_are_one_line(folder: Path, arguments: list[str], code: int, text: str) -> None:
    (folder / "empty").mkdir()
    shutil.copy(folder / "pictures" / "a.png", folder)
    done = run(*arguments, cwd=folder)
    assert text in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert done.returncode == code


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_keeps_what_was_done(folder: Path, sent: signal.Signals) -> None:
    many = folder / "many"
    many.mkdir()
    for index in range(3000):
        (many / f"{index:04d}.png").symlink_to(folder / "pictures" / "a.png")
    command, pipe = (
        [COMMAND, "many", *CPU, "--threads", "1", "--proposals", "1000"],
        subprocess.PIPE,
    )
    process = subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        partial = list(folder.glob("proposals.json.*tmp"))
        if partial and partial[0].stat().st_size > 100_000:
            break
        time.sleep(0.02)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + sent
    described = images_of(folder / "proposals.json")
    assert 0 < len(described) < 3000
    assert f"Error: interrupted after {len(described)} of 3000 images\n" == errors
    results = results_of(folder / "proposals.json")
    assert {result["image_id"] for result in results} <= {image["id"] for image in described}
    assert not list(folder.glob("*tmp"))


def test_defaults_and_choices_are_the_librarys() -> None:
    """The command states them again so that --help needs no library; they must not drift."""
    options = {option.name: option for option in command.params}
    choice = options["engine"].type
    assert isinstance(choice, click.Choice)
    assert tuple(choice.choices) == ENGINES
    assert options["max_pixels"].default == MAX_PIXELS
