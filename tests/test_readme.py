"""Every command of the README, run as it stands there: the whole chain from labels to figures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from benchmarks.selective_search import MISSING, ximgproc
from deepmask.networks.trunks import TRUNKS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- (\w+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
#: Appended to the README's training command: a run of seconds instead of hours.
SHORT = " --steps 2 --batch 4 --negatives 2 --max-octaves 6 --val-patches 2"


def bash(script: str, folder: Path) -> str:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Path, Path]) -> Path:
    """A folder with the files that the README's commands name, and what earlier ones made."""
    folder = tmp_path_factory.mktemp("readme")
    annotations, images = drawn
    for name in ("train", "val"):
        shutil.copy(annotations, folder / f"instances_{name}.json")
        shutil.copytree(images, folder / name)
    shutil.copytree(images, folder / "photographs")
    Image.open(next(images.iterdir())).convert("RGB").save(folder / "photograph.jpg")
    torch.save(TRUNKS["resnet18"]("zero").state_dict(), folder / "resnet18.pth")
    bash(BLOCKS["train"].replace("--out runs/mine", "--out runs/mine" + SHORT), folder)
    bash(BLOCKS["export"], folder)
    bash("deepmask-trt-run val/ --proposals 50 --out other.json", folder)
    return folder


def test_every_command_stands_in_a_block_that_is_run() -> None:
    assert set(BLOCKS) == {
        *("try", "tests", "run", "python", "train", "refine", "export"),
        *("measure", "selective", "pictures"),
    }
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.slow
def test_training_and_export_leave_their_files(workplace: Path) -> None:
    assert names_in(workplace / "runs" / "mine") == {"best.pt", "last.pt", "log.csv"}
    graphs = {"mask.onnx", "score.onnx", "trunk.onnx"}
    for name in ("mine", "small", "fast", "mine-int8"):
        assert names_in(workplace / "models" / name) == graphs | {"model.json"}


@pytest.mark.slow
def test_a_trained_network_is_refined(workplace: Path) -> None:
    short = SHORT.replace("--negatives 2 ", "")
    bash(BLOCKS["refine"].replace("--out runs/sharp", "--out runs/sharp" + short), workplace)
    with (
        Image.open(workplace / "sharp.png") as sharp,
        Image.open(workplace / "coarse.png") as blunt,
    ):
        assert sharp.size == blunt.size
    assert "coarse_mask.onnx" in names_in(workplace / "models" / "sharp")


@pytest.mark.slow
def test_running_leaves_coco_results_and_pictures(workplace: Path) -> None:
    printed = bash(BLOCKS["run"], workplace)
    assert "onnxruntime" in printed
    photograph, overlay = (
        Image.open(workplace / name) for name in ("photograph.jpg", "overlay.png")
    )
    assert overlay.size == photograph.size
    assert len(list((workplace / "overlays").iterdir())) == 6
    results = COCO(str(workplace / "proposals.images.json")).loadRes(
        str(workplace / "proposals.json")
    )
    assert results.anns
    scores = [result["score"] for result in json.loads((workplace / "proposals.json").read_text())]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
def test_measuring_leaves_figures(workplace: Path) -> None:
    printed = bash(BLOCKS["measure"], workplace)
    assert "mask AR" in printed
    for name in ("eval", "other"):
        assert (workplace / "runs" / name / "metrics.json").is_file()
    assert any((workplace / "runs" / "both").glob("*.png"))


@pytest.mark.slow
@pytest.mark.skipif(ximgproc() is None, reason=MISSING)
def test_selective_search_is_measured(workplace: Path) -> None:
    (workplace / "benchmarks").symlink_to(ROOT / "benchmarks")
    bash(BLOCKS["selective"], workplace)
    metrics = json.loads((workplace / "runs" / "selective" / "metrics.json").read_text())
    assert metrics["name"] == "Selective Search, fast"
    assert metrics["bbox"]["AR@1000"] > 0


@pytest.mark.slow
def test_the_page_is_drawn_from_a_run(workplace: Path) -> None:
    """In a copy of what the command reads and writes, with no other run than this one."""
    run, checkout = workplace / "runs" / "drawn", workplace / "checkout"
    evaluate = "deepmask-eval --annotations instances_val.json --images val/ --limit 2"
    bash(f"{evaluate} --out {run}", workplace)
    kept = shutil.ignore_patterns("recall", "__pycache__")
    for name in ("benchmarks", "docs"):
        shutil.copytree(ROOT / name, checkout / name, ignore=kept)
    (checkout / "README.md").write_text(README, encoding="utf-8")
    bash(BLOCKS["pictures"].replace("runs/eval", str(run)), checkout)
    assert "Measured on 2 images" in (checkout / "README.md").read_text(encoding="utf-8")
    for name in ("recall.png", "astronaut.jpg", "coarse-and-sharp.jpg"):
        with Image.open(checkout / "docs" / name) as picture:
            picture.verify()


@pytest.mark.slow
def test_python_example(workplace: Path) -> None:
    (workplace / "example.py").write_text(BLOCKS["python"])
    bash("python example.py", workplace)


@pytest.mark.slow
def test_first_command_in_an_empty_environment(tmp_path: Path) -> None:
    """Installs from the package index, as a newcomer does; other tests use what is installed."""
    probe = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "-qd", tmp_path / "probe", "click"],
        capture_output=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip("no package index within reach")
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv*", "build", "*.egg-info", "__pycache__", "runs")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    printed = bash(BLOCKS["try"], checkout)
    assert "onnxruntime" in printed
    assert (checkout / "overlay.png").stat().st_size > 10_000
    objects = json.loads((checkout / "proposals.json").read_text())
    assert len(objects) > 2
    assert printed.rstrip().splitlines()[-1].split()[0] == str(len(objects))
    listed = bash(".venv/bin/pip list", checkout)
    assert not re.search(r"^torch\b", listed, re.MULTILINE)
