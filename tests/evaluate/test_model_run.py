"""The installed command running a model itself: measured, stopped, resumed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluate.scenes import (
    Json,
    deepmask_eval,
    evaluate_file,
    figures_only,
    metrics_of,
    squares,
    write,
)


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
    first = metrics["first_masks"]
    assert first["new"] == first["objects"] == metrics["segm"]["objects"]["all"]
    assert "they show 100.0% of the objects." in done.stdout.lower()
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
    command += ["--proposals", "1000"]
    command += [*arguments[4:10]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = evaluate_file(tmp_path, "file", "--out", tmp_path / "again", "--proposals", "200")
    assert again.returncode == 0, again.stderr
    assert figures_only(metrics_of(tmp_path / "again")) == figures_only(
        metrics_of(tmp_path / "out")
    )


def test_missed_objects_are_outlined_in_red(tmp_path: Path) -> None:
    labels = squares(tmp_path, count=2)
    write(tmp_path / "none.json", [{"image_id": 1, "score": 1, "bbox": [0, 0, 3, 3]}])
    done = evaluate_file(
        tmp_path, "none", "--images", tmp_path / "images", "--out", tmp_path / "out"
    )
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
    assert "annotated as 220×160, found 50×50 pixels" in done.stderr
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
        assert process.returncode == 128 + number
        assert "of 12 images done; the same command with --resume continues" in errors
        assert "Traceback" not in errors
        assert metrics_of(tmp_path / "out")["images_missing"] > 0
    assert deepmask_eval(*arguments[1:], "--resume").returncode == 0
    resumed = metrics_of(tmp_path / "out")
    assert figures_only(resumed) == figures_only(undisturbed)
    lines = records.read_text().splitlines()
    assert sorted(json.loads(line)["image_id"] for line in lines) == list(range(1, 13))
