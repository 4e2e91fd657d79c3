"""The installed command: what it writes, resumes, joins, compares, and how it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .scenes import Json, deepmask_eval, encode, labelled_set, proposals, rectangle, write
from .test_annotations import write_voc

METRICS = ("AR@10", "AR@100", "AR@1000", "AUC", "AUC_small", "AUC_medium", "AUC_large")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labels.json, good.json and poor.json for ten images; whole/ is good.json evaluated."""
    folder = tmp_path_factory.mktemp("set")
    labels = labelled_set(7, images=10)
    write(folder / "labels.json", labels)
    write(folder / "good.json", proposals(7, labels, each=9))
    write(folder / "poor.json", proposals(8, labels, each=1, noise=20))
    done = evaluate(folder, "good", "--out", folder / "whole")
    assert done.returncode == 0, done.stderr
    return folder


def evaluate(folder: Path, which: str, *options: object) -> subprocess.CompletedProcess[str]:
    labels, results = folder / "labels.json", folder / f"{which}.json"
    return deepmask_eval("--annotations", labels, "--proposals-json", results, *options)


def metrics_of(folder: Path) -> Json:
    metrics: Json = json.loads((folder / "metrics.json").read_text())
    return metrics


def figures_only(metrics: Json) -> Json:
    """What must not depend on how the run was cut up."""
    return {kind: metrics[kind] for kind in ("segm", "bbox")}


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
    assert not list((files / "whole").glob("*.tmp"))


def test_without_out_only_the_table_is_printed(files: Path, tmp_path: Path) -> None:
    done = evaluate(files, "good", "--limit", "4")
    assert done.returncode == 0
    assert "4 images" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_run_resumes_to_the_same_figures(files: Path, tmp_path: Path, cut: int) -> None:
    """As a kill leaves it: some records whole, the last one cut off somewhere."""
    lines = (files / "whole/records.jsonl").read_bytes().splitlines(keepends=True)
    shutil.copy(files / "whole/run.json", tmp_path / "run.json")
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:-cut])
    refused = evaluate(files, "good", "--out", tmp_path)
    assert refused.returncode == 1
    assert "already holds an evaluation: --resume continues it" in refused.stderr
    other = evaluate(files, "poor", "--out", tmp_path, "--resume", "--name", "good")
    assert other.returncode == 1
    assert "cannot be resumed: its source is" in other.stderr
    done = evaluate(files, "good", "--out", tmp_path, "--resume")
    assert done.returncode == 0, done.stderr
    assert metrics_of(tmp_path) == metrics_of(files / "whole")
    assert (tmp_path / "records.jsonl").read_bytes() == b"".join(lines)


def test_a_resumed_run_may_take_in_more_images_but_not_fewer(files: Path, tmp_path: Path) -> None:
    assert evaluate(files, "good", "--out", tmp_path, "--limit", "3").returncode == 0
    assert metrics_of(tmp_path)["images"] == 3
    assert evaluate(files, "good", "--out", tmp_path, "--resume").returncode == 0
    assert figures_only(metrics_of(tmp_path)) == figures_only(metrics_of(files / "whole"))
    fewer = evaluate(files, "good", "--out", tmp_path, "--limit", "3", "--resume")
    assert fewer.returncode == 1
    assert "it holds 7 images that this run leaves out" in fewer.stderr


def test_shards_merge_to_the_whole(files: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{i}" for i in (1, 2)]
    for index, part in enumerate(parts, 1):
        assert evaluate(files, "good", "--shard", f"{index}/2", "--out", part).returncode == 0
    done = deepmask_eval("merge", parts[1], parts[0], "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    merged = metrics_of(tmp_path / "all")
    assert figures_only(merged) == figures_only(metrics_of(files / "whole"))
    assert merged["run"]["shard"] == [1, 1]
    half = deepmask_eval("merge", parts[1], "--out", tmp_path / "half")
    assert half.returncode == 0
    assert "PARTIAL: 5 of 10 images are not measured" in half.stdout
    for arguments, message in (
        ([parts[0], parts[0]], "are the same shard, 1"),
        ([parts[0], files / "whole"], "is no shard of the run"),
        ([tmp_path], "has no run.json"),
    ):
        refused = deepmask_eval("merge", *arguments, "--out", tmp_path / "no")
        assert refused.returncode == 1
        assert message in refused.stderr
        assert not (tmp_path / "no").exists()


def test_compare_pairs_runs_on_the_same_images(files: Path, tmp_path: Path) -> None:
    assert evaluate(files, "poor", "--out", tmp_path / "poor").returncode == 0
    out = tmp_path / "both"
    done = deepmask_eval("compare", files / "whole", tmp_path / "poor", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "difference from good on the same images" in done.stdout
    comparison = json.loads((out / "comparison.json").read_text())
    change = comparison["differences"]["poor"]["segm"]
    runs = comparison["runs"]
    for name in METRICS:
        expected = runs["poor"]["segm"][name] - runs["good"]["segm"][name]
        assert change[name] == pytest.approx(expected)
    low, high = change["intervals"]["AR@100"]
    assert low < change["AR@100"] < high < 0
    own = [np.diff(runs[name]["segm"]["intervals"]["AR@100"])[0] for name in ("good", "poor")]
    assert high - low < np.hypot(*own), "pairing gains nothing"
    with Image.open(out / "comparison.png") as image:
        assert image.width > 1000
    same = deepmask_eval("compare", files / "whole", files / "whole")
    assert same.returncode == 1
    assert "the same folder is given twice" in same.stderr
    labels = json.loads((files / "labels.json").read_text())
    labels["annotations"].pop()
    write(tmp_path / "labels.json", labels)
    shutil.copy(files / "good.json", tmp_path / "good.json")
    assert evaluate(tmp_path, "good", "--out", tmp_path / "other").returncode == 0
    refused = deepmask_eval("compare", files / "whole", tmp_path / "other")
    assert refused.returncode == 1
    assert "compare runs on the same objects" in refused.stderr


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
    done = evaluate(tmp_path, "less", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "note: 1 of 10 images have no proposals; their objects count as missed" in done.stderr
    metrics = metrics_of(tmp_path / "out")
    assert metrics["images"] == 10
    assert metrics["segm"]["AR@1000"] < metrics_of(files / "whole")["segm"]["AR@1000"]


def test_a_wrong_result_costs_its_image_only(files: Path, tmp_path: Path) -> None:
    results = json.loads((files / "good.json").read_text())
    next(r for r in results if r["image_id"] == 3)["segmentation"]["size"] = [5, 5]
    write(tmp_path / "bad.json", results)
    shutil.copy(files / "labels.json", tmp_path / "labels.json")
    done = evaluate(tmp_path, "bad", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "bad.json: image 3: result 0: its segmentation has size [5, 5]" in done.stderr
    assert metrics_of(tmp_path / "out")["images"] == 9
    assert "PARTIAL: 1 of 10 images are not measured" in done.stdout


def squares(folder: Path, count: int = 6) -> Json:
    """Images of a dark square and a bright one on gray, with their labels."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(3)
    annotations: list[Json] = []
    for image_id in range(1, count + 1):
        picture = np.full((160, 220, 3), 127, np.uint8)
        for side, x0, value in ((32, 10, 0), (64, 110, 255)):
            x, y = x0 + int(random.integers(40)), int(random.integers(20, 80))
            picture[y : y + side, x : x + side] = value
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                    "segmentation": encode(rectangle(160, 220, (x, y, side, side))),
                }
            )
        Image.fromarray(picture).save(folder / "images" / f"{image_id:06d}.png")
    labels: Json = {
        "images": [
            {"id": i, "file_name": f"{i:06d}.png", "width": 220, "height": 160}
            for i in range(1, count + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "square"}],
    }
    write(folder / "labels.json", labels)
    return labels


def model_arguments(folder: Path, model: Path) -> list[object]:
    return [
        *("--annotations", folder / "labels.json", "--images", folder / "images"),
        *("--model", model, "--engine", "onnxruntime", "--device", "cpu"),
        *("--proposals", "200", "--out", folder / "out"),
    ]


def test_a_model_is_run_and_measured(tmp_path: Path, square_model: Path) -> None:
    squares(tmp_path)
    done = deepmask_eval(*model_arguments(tmp_path, square_model))
    assert done.returncode == 0, done.stderr
    metrics = metrics_of(tmp_path / "out")
    assert metrics["segm"]["recall@100_iou0.7"] == 1
    assert metrics["segm"]["AR@100"] > 0.8
    assert metrics["images_per_second"] > 0
    assert metrics["run"]["source"]["model"] == "squares"
    with Image.open(tmp_path / "out/contact-sheet.jpg") as sheet:
        pixels = np.asarray(sheet.convert("RGB"), np.int16)
    red = (pixels[:, :, 0] > 180) & (pixels[:, :, 1] < 60) & (pixels[:, :, 2] < 60)
    coloured = np.ptp(pixels, axis=2) > 60
    assert coloured.sum() > 10_000, "no object is painted"
    assert not red.any(), "an object that was found is outlined in red"


def test_both_forms_of_a_refined_model_are_measured(tmp_path: Path, refined_model: Path) -> None:
    """Under their own names, and not to be mixed in one folder."""
    squares(tmp_path, count=2)
    *arguments, _, _ = model_arguments(tmp_path, refined_model)
    sharp = deepmask_eval(*arguments, "--out", tmp_path / "sharp")
    coarse = deepmask_eval(*arguments, "--coarse", "--out", tmp_path / "coarse")
    assert (sharp.returncode, coarse.returncode) == (0, 0), sharp.stderr + coarse.stderr
    found = [metrics_of(tmp_path / name) for name in ("sharp", "coarse")]
    assert [metrics["name"] for metrics in found] == ["squares", "squares, coarse"]
    assert all(metrics["segm"]["AR@100"] > 0.8 for metrics in found)
    graphs = [metrics["run"]["source"]["graphs"] for metrics in found]
    assert {name for name in graphs[0] if graphs[0][name] != graphs[1][name]} == {"trunk", "mask"}
    mixed = deepmask_eval(*arguments, "--coarse", "--out", tmp_path / "sharp", "--resume")
    assert mixed.returncode == 1
    assert "cannot be resumed" in mixed.stderr


def test_a_model_and_its_results_file_measure_the_same(tmp_path: Path, square_model: Path) -> None:
    """What deepmask-trt-run writes is what deepmask-eval measures."""
    squares(tmp_path, count=3)
    arguments = model_arguments(tmp_path, square_model)
    assert deepmask_eval(*arguments).returncode == 0
    command = ["deepmask-trt-run", tmp_path / "images", "--out", tmp_path / "file.json"]
    command += [*arguments[4:10]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = evaluate(tmp_path, "file", "--out", tmp_path / "again", "--proposals", "200")
    assert again.returncode == 0, again.stderr
    assert figures_only(metrics_of(tmp_path / "again")) == figures_only(
        metrics_of(tmp_path / "out")
    )


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
    assert b"image/s" in shown
    assert deepmask_eval(*arguments).stderr == ""


def test_missed_objects_are_outlined_in_red(tmp_path: Path) -> None:
    labels = squares(tmp_path, count=2)
    write(tmp_path / "none.json", [{"image_id": 1, "score": 1, "bbox": [0, 0, 3, 3]}])
    done = evaluate(tmp_path, "none", "--images", tmp_path / "images", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out/tiles/000000000001.png") as image:
        assert image.info["Description"] == "1: 0 of 2 found"
        tile = np.asarray(image.convert("RGB"), np.int16)
    red = (tile[:, :, 0] > 180) & (tile[:, :, 1] < 60) & (tile[:, :, 2] < 60)
    scale = tile.shape[0] / 160
    for annotation in labels["annotations"][:2]:
        x, y, w, h = (round(value * scale) for value in annotation["bbox"])
        assert red[y - 3 : y + h + 3, x - 3 : x + w + 3].sum() > 2 * (w + h)
        assert not red[y + 4 : y + h - 4, x + 4 : x + w - 4].any()


def test_an_unreadable_image_costs_itself_only(tmp_path: Path, square_model: Path) -> None:
    squares(tmp_path, count=4)
    (tmp_path / "images/000002.png").write_bytes(b"not a picture")
    Image.new("RGB", (50, 50)).save(tmp_path / "images/000003.png")
    arguments = model_arguments(tmp_path, square_model)
    done = deepmask_eval(*arguments)
    assert done.returncode == 1
    assert "image 2: " in done.stderr
    assert "000003.png is 50 x 50 pixels, its annotations are for 220 x 160" in done.stderr
    assert metrics_of(tmp_path / "out")["images"] == 2
    for name in ("2", "3"):
        shutil.copy(tmp_path / "images/000001.png", tmp_path / f"images/00000{name}.png")
    again = deepmask_eval(*arguments, "--resume")
    assert again.returncode == 0, again.stderr
    assert metrics_of(tmp_path / "out")["images"] == 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, square_model: Path) -> Json:
    """The metrics of the squares that the next test's runs are stopped at."""
    folder = tmp_path_factory.mktemp("undisturbed")
    squares(folder, count=12)
    assert deepmask_eval(*model_arguments(folder, square_model)).returncode == 0
    return metrics_of(folder / "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_resumes(
    tmp_path: Path, square_model: Path, undisturbed: Json, number: signal.Signals
) -> None:
    squares(tmp_path, count=12)
    arguments = ["deepmask-eval", *map(str, model_arguments(tmp_path, square_model))]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    records = tmp_path / "out/records.jsonl"
    while process.poll() is None and not (records.exists() and records.stat().st_size):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 130
        assert "of 12 images done; the same command with --resume continues" in errors
        assert "Traceback" not in errors
        assert metrics_of(tmp_path / "out")["images_missing"] > 0
    assert deepmask_eval(*arguments[1:], "--resume").returncode == 0
    resumed = metrics_of(tmp_path / "out")
    assert figures_only(resumed) == figures_only(undisturbed)
    lines = records.read_text().splitlines()
    assert sorted(json.loads(line)["image_id"] for line in lines) == list(range(1, 13))


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


def test_broken_files_are_one_line_and_exit_code_1(files: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"images": [')
    for arguments in (
        ["--annotations", tmp_path / "broken.json", "--proposals-json", files / "good.json"],
        ["--annotations", files / "labels.json", "--proposals-json", tmp_path / "broken.json"],
        ["compare", files / "whole", tmp_path],
    ):
        done = deepmask_eval(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1


def test_help_needs_no_library_but_click() -> None:
    code = "import sys, deepmask.evaluate.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "cv2", "matplotlib", "pycocotools", "onnxruntime", "torch", "PIL"}
    assert not heavy & set(done.stdout.split())
    for arguments in (["--help"], [], ["compare", "--help"], ["merge", "--help"]):
        shown = deepmask_eval(*arguments)
        assert shown.returncode == 0
        assert "Usage: deepmask-eval" in shown.stdout


PEAK = """
import resource, sys
from deepmask.evaluate.cli import main
sys.argv = ["deepmask-eval", *sys.argv[1:]]
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_megabytes(folder: Path, images: int) -> float:
    """Peak resident memory of evaluating so many small images with 100 masks each."""
    folder.mkdir()
    labels = labelled_set(1, images=images, objects=4)
    write(folder / "labels.json", labels)
    write(folder / "results.json", proposals(1, labels, each=10, noise=80))
    arguments: list[Any] = [
        *("--annotations", folder / "labels.json"),
        *("--proposals-json", folder / "results.json", "--out", folder / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return int(done.stderr.split("peak ")[1]) / unit


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    few = peak_megabytes(tmp_path / "few", 20)
    many = peak_megabytes(tmp_path / "many", 200)
    size = (tmp_path / "many/results.json").stat().st_size / (1 << 20)
    assert size > 3, "the results would fit anyway"
    assert many - few < 12, f"{few:.0f} MB for 20 images, {many:.0f} MB for 200"
