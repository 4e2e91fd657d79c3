"""The installed command on results files: what it writes, and how it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.coco.test_voc import write_voc
from tests.evaluate.scenes import METRICS, deepmask_eval, evaluate_file, metrics_of, write


def test_metrics_json_holds_the_papers_figures_with_intervals(files: Path) -> None:
    metrics = metrics_of(files / "whole")
    for kind in ("segm", "bbox"):
        for name in METRICS:
            low, high = metrics[kind]["intervals"][name]
            assert 0 <= low <= metrics[kind][name] <= high <= 1
        assert metrics[kind]["intervals"]["AR@100"][0] < metrics[kind]["AR@100"]
    assert metrics["images"] == 10
    assert metrics["images_missing"] == 0
    assert metrics["images_per_second"] is None
    table = (files / "whole/table.txt").read_text()
    assert "measured: labels.json, 10 images" in table
    assert "published, on other data (COCO, first 5000 images of val2014)" in table
    for row in (
        "DeepMask-ours, A (thesis)  |     -      -      -      -  |    .140   .258   .334",
        "DeepMask-ours (SharpMask)  |  .187   .349   .465   .262  |    .144   .258   .331",
        "SharpMask (SharpMask)      |  .197   .364   .482   .274  |    .156   .276   .355",
        "SharpMaskZoom² (SharpMask) |  .192   .399   .550   .292  |    .154   .307   .408",
    ):
        assert row.replace(" ", "") in table.replace(" ", "")
    value = f"{metrics['bbox']['AR@100']:.3f}".removeprefix("0")
    row = next(line for line in table.splitlines() if line.startswith("good "))
    assert value in row
    paper = next(line for line in table.splitlines() if line.startswith("DeepMask  "))
    printed = "DeepMask | .153 .313 .446 .233 | .126 .245 .331 .023 .266 .336 .183"
    assert paper.split() == printed.split()


def test_figures_are_written_as_png_and_svg(files: Path) -> None:
    for name in ("ar-proposals", "ar-sizes", "recall-iou"):
        with Image.open(files / "whole" / f"{name}.png") as image:
            assert image.width > 600
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10
        assert "<svg" in (files / "whole" / f"{name}.svg").read_text()
    assert not list((files / "whole").rglob("*tmp"))


def test_results_without_masks_measure_boxes(files: Path, tmp_path: Path) -> None:
    results = json.loads((files / "good.json").read_text())
    for result in results:
        del result["segmentation"]
    write(tmp_path / "boxes.json", results)
    done = deepmask_eval(
        *("--annotations", files / "labels.json"),
        *("--proposals-json", tmp_path / "boxes.json", "--out", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    metrics = metrics_of(tmp_path / "out")
    assert "segm" not in metrics
    assert metrics["bbox"] == metrics_of(files / "whole")["bbox"]
    assert "Boxes only" in done.stdout
    both = deepmask_eval("compare", files / "whole", tmp_path / "out", "--out", tmp_path / "c")
    assert both.returncode == 0, both.stderr


def test_images_without_proposals_count_as_missed(files: Path, tmp_path: Path) -> None:
    results = [r for r in json.loads((files / "good.json").read_text()) if r["image_id"] != 2]
    write(tmp_path / "less.json", results)
    shutil.copy(files / "labels.json", tmp_path / "labels.json")
    done = evaluate_file(tmp_path, "less", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "note: no proposals in 1 of 10 images, whose objects count as missed" in done.stderr
    metrics = metrics_of(tmp_path / "out")
    assert metrics["images"] == 10
    assert metrics["segm"]["AR@1000"] < metrics_of(files / "whole")["segm"]["AR@1000"]


def test_a_wrong_result_costs_its_image_only(files: Path, tmp_path: Path) -> None:
    results = json.loads((files / "good.json").read_text())
    next(r for r in results if r["image_id"] == 3)["segmentation"]["size"] = [5, 5]
    write(tmp_path / "bad.json", results)
    shutil.copy(files / "labels.json", tmp_path / "labels.json")
    done = evaluate_file(tmp_path, "bad", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "bad.json: image 3: result 0: its segmentation has size [5, 5]" in done.stderr
    assert metrics_of(tmp_path / "out")["images"] == 9
    assert "PARTIAL: not measured: 1 of 10 images." in done.stdout


def test_progress_is_shown_on_a_terminal_only(files: Path) -> None:
    pty = pytest.importorskip("pty", reason="needs a POSIX terminal")
    fcntl = pytest.importorskip("fcntl", reason="needs a POSIX terminal")
    termios = pytest.importorskip("termios", reason="needs a POSIX terminal")
    arguments = ["--annotations", files / "labels.json", "--proposals-json", files / "good.json"]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    with subprocess.Popen(
        ["deepmask-eval", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=follower
    ) as process:
        os.close(follower)
        shown = b""
        with os.fdopen(leader, "rb") as terminal, contextlib.suppress(OSError):
            while block := terminal.read(1):  # ends in OSError when the command does
                shown += block
    assert process.returncode == 0
    assert b"10/10" in shown
    assert b"/s" in shown
    assert deepmask_eval(*arguments).stderr == ""


def test_voc_folders_are_measured_by_boxes(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc")
    results = [{"image_id": 12, "score": 0.9, "bbox": [10, 20, 10, 20]}]
    write(tmp_path / "found.json", results)
    done = deepmask_eval(
        *("--voc", tmp_path / "voc", "--proposals-json", tmp_path / "found.json"),
        *("--out", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    metrics = metrics_of(tmp_path / "out")
    assert metrics["bbox"]["AR@10"] == 1
    assert metrics["bbox"]["objects"]["all"] == 1
    assert "PASCAL VOC 2007 test" in done.stdout
    assert ".337   .561   .690   .433" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "."], "--annotations (or --voc) is missing"),
        (["--annotations", "{labels}"], "--images is missing"),
        (["--annotations", "no.json"], "'no.json' does not exist"),
        (["--annotations", "{labels}", "--voc", "."], "exclude each other"),
        (["--annotations", "{labels}", "--images", "no"], "'no' does not exist"),
        (["--annotations", "{labels}", "--images", ".", "--shard", "3/2"], "--shard 3/2: expected"),
        (["--annotations", "{labels}", "--images", ".", "--resume"], "--resume needs --out"),
        (["--annotations", "{labels}", "--images", ".", "--shard", "1/2"], "--shard needs --out"),
        (["--annotations", "{labels}", "--images", ".", "--scales", "1"], "expected FROM:TO:STEP"),
        (["--annotations", "{labels}", "--proposals-json", "{good}", "--zoom"], "has no effect"),
        (["--annotations", "{labels}", "--proposals-json", "{good}", "--coarse"], "has no effect"),
        (["--annotations", "{labels}", "--images", ".", "--proposals", "5000"], "1<=x<=1000"),
        (["--annotations", "{labels}", "--images", ".", "--model", "."], "model.json"),
        (["--limit", "5", "compare", ".", "."], "--limit does not go with compare"),
        (["compare", "{whole}"], "compare needs two runs or more"),
        (["measure"], "No such command 'measure'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    files: Path, arguments: list[str], message: str
) -> None:
    names = {name: files / f"{name}.json" for name in ("labels", "good")}
    done = deepmask_eval(*(a.format(**names, whole=files / "whole") for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_broken_files_are_one_line(files: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"images": [')
    beyond = tmp_path / "broken.json" / "out"
    measured = ["--annotations", files / "labels.json", "--proposals-json", files / "good.json"]
    if not (files / "whole2").exists():
        shutil.copytree(files / "whole", files / "whole2")
    for arguments in (
        ["--annotations", tmp_path / "broken.json", "--proposals-json", files / "good.json"],
        ["--annotations", files / "labels.json", "--proposals-json", tmp_path / "broken.json"],
        ["compare", files / "whole", tmp_path],
        [*measured, "--out", beyond],
        ["compare", files / "whole", files / "whole2", "--out", beyond],
        ["merge", files / "whole", "--out", beyond],
    ):
        done = deepmask_eval(*arguments)
        assert done.returncode == (2 if beyond in arguments else 1)
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1


def test_help_needs_no_library_but_click() -> None:
    code = "import sys, deepmask.evaluate.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "cv2", "matplotlib", "pycocotools", "onnxruntime", "torch", "PIL"}
    assert not heavy & set(done.stdout.split())
    assert "Usage: deepmask-eval" in deepmask_eval().stdout
