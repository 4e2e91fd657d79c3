"""Every command of the README, run as it stands there, one block after the other."""

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
from skimage.data import data_dir

from benchmarks.selective_search import MISSING, ximgproc
from deepmask.networks.trunks import TRUNKS
from deepmask.train.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- (\w+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
#: In place of the README's steps: a run of seconds instead of minutes.
SHORT = "--steps 2 --batch 4 --max-octaves 6 --val-patches 2"


def shortened(name: str) -> str:
    """Return a block as it is run here: with what is installed, without the network, quickly."""
    text = re.sub(r"^pip install .*$", "true", BLOCKS[name], flags=re.MULTILINE)
    text = text.replace("cp ../.venv/lib/python3*/site-packages/skimage/data/", f"cp {data_dir}/")
    text = text.replace("practice_set.py", "practice_set.py --train 6 --val 4")
    text = text.replace("--init imagenet", "--init resnet18.pth --negatives 2")
    text = text.replace("--steps 300", "--steps 1 --batch 1 --whole-share 0")
    return text.replace("--steps 100", SHORT).replace("--steps 120", "--steps 3")


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
    """Return the names of the files that a person sees: not the record of what was written."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


#: The page's blocks in its order, but for the first two and the last, which are run apart.
WALK = ("try", "run", "python", "practice", "finetune", "train", "refine", "export", "measure")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which every block was run after the ones above it, and what each printed."""
    checkout = tmp_path_factory.mktemp("readme")
    for name in ("examples", "benchmarks"):
        (checkout / name).symlink_to(ROOT / name)
    folder = checkout / "walk"
    folder.mkdir()
    torch.save(TRUNKS["resnet18"]("zero").state_dict(), folder / "resnet18.pth")
    printed = {}
    for name in WALK:
        if name == "python":
            (folder / "example.py").write_text(BLOCKS[name])
        printed[name] = bash("python example.py" if name == "python" else shortened(name), folder)
    return folder, printed


def test_every_command_stands_in_a_block_that_is_run() -> None:
    assert list(BLOCKS) == ["install", *WALK, "selective", "tests"]
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.slow
def test_the_walk_leaves_its_files(walked: tuple[Path, dict[str, str]]) -> None:
    folder, _ = walked
    run = {"best.pt", "last.pt", "log.csv", "run.json"}
    assert names_in(folder / "runs" / "mine") == run
    assert names_in(folder / "runs" / "tuned") == run
    assert load_checkpoint(folder / "runs" / "mine" / "last.pt").training["step"] == 3
    graphs = {"mask.onnx", "score.onnx", "trunk.onnx"}
    for name in ("mine", "fast", "mine-int8"):
        assert names_in(folder / "models" / name) == graphs | {"model.json"}
    assert "coarse_mask.onnx" in names_in(folder / "models" / "sharp")
    measured = json.loads((folder / "models" / "sharp" / "model.json").read_text())
    assert measured["about"]["settings"]["annotations"] == "instances_val.json"
    with Image.open(folder / "sharp.png") as sharp, Image.open(folder / "coarse.png") as blunt:
        assert sharp.size == blunt.size
    for name in ("eval", "eval-mine"):
        assert (folder / "runs" / name / "metrics.json").is_file()
    assert any((folder / "runs" / "both").glob("*.png"))


@pytest.mark.slow
def test_running_leaves_coco_results_and_pictures(walked: tuple[Path, dict[str, str]]) -> None:
    folder, printed = walked
    assert "onnxruntime" in printed["run"]
    paths = (folder / "photographs" / "astronaut.png", folder / "overlay.png")
    with Image.open(paths[0]) as photograph, Image.open(paths[1]) as overlay:
        assert overlay.size == photograph.size
    assert names_in(folder / "overlays") == {"astronaut.png", "chelsea.png", "coffee.png"}
    assert (folder / "report.html").stat().st_size > 10_000
    assert len(list((folder / "photographs").glob("*.json"))) == 3  # labelme's
    results = COCO(str(folder / "hundred.images.json")).loadRes(str(folder / "hundred.json"))
    assert len(results.anns) > 100
    listed = json.loads((folder / "hundred.json").read_text())
    scores = [one["score"] for one in listed if one["image_id"] == listed[0]["image_id"]]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert json.loads((folder / "coffee.json").read_text())


@pytest.mark.slow
@pytest.mark.skipif(ximgproc() is None, reason=MISSING)
def test_selective_search_is_measured(walked: tuple[Path, dict[str, str]]) -> None:
    folder, _ = walked
    search, evaluate, draw = re.split(r"(?<!\\)\n", BLOCKS["selective"].strip())
    environment = f"export PYTHONPATH={ROOT}; "
    bash(environment + search, folder)
    bash(evaluate, folder)
    metrics = json.loads((folder / "runs" / "selective" / "metrics.json").read_text())
    assert metrics["name"] == "Selective Search, fast"
    assert metrics["bbox"]["AR@1000"] > 0
    assert draw.startswith("python -m benchmarks.pictures ")


@pytest.mark.slow
def test_pictures_of_a_run_are_drawn_and_the_page_stays(
    walked: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """In a copy of what the command reads, without other runs; then as maintainers draw them."""
    run, checkout = tmp_path / "run", tmp_path / "checkout"
    evaluate = "deepmask-eval --annotations instances_val.json --images val/ --limit 2"
    bash(f"{evaluate} --out {run}", walked[0])
    kept = shutil.ignore_patterns("recall", "__pycache__")
    for name in ("benchmarks", "docs"):
        shutil.copytree(ROOT / name, checkout / name, ignore=kept)
    (checkout / "README.md").write_text(README, encoding="utf-8")
    *_, draw = BLOCKS["selective"].strip().splitlines()
    bash(draw.replace("runs/selective", str(run)), checkout)
    drawn = {"table.md", "recall.png", "astronaut.jpg"}
    assert names_in(checkout / "drawn") == drawn
    assert "Measured on 2 images" in (checkout / "drawn" / "table.md").read_text(encoding="utf-8")
    assert (checkout / "README.md").read_text(encoding="utf-8") == README
    assert not (checkout / "benchmarks" / "results" / "recall").exists()
    bash(f"python -m benchmarks.pictures {run} --publish", checkout)
    assert "Measured on 2 images" in (checkout / "README.md").read_text(encoding="utf-8")
    for folder in (checkout / "docs", checkout / "drawn"):
        for name in drawn - {"table.md"}:
            with Image.open(folder / name) as picture:
                picture.verify()


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
    printed = bash(BLOCKS["install"] + BLOCKS["try"], checkout)
    assert "onnxruntime" in printed
    assert (checkout / "walk" / "overlay.png").stat().st_size > 10_000
    objects = json.loads((checkout / "walk" / "proposals.json").read_text())
    assert len(objects) > 2
    assert printed.rstrip().splitlines()[-1].split()[0] == str(len(objects))
    listed = bash(".venv/bin/pip list", checkout)
    assert not re.search(r"^torch\b", listed, re.MULTILINE)
