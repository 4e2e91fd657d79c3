"""A family that the product has never heard of: trained, resumed, exported, run and measured."""

from __future__ import annotations

import ast
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deepmask.coco.reader import read_coco
from deepmask.networks.dense.torch_engine import runnable
from deepmask.networks.families import FAMILIES
from deepmask.networks.family import TrainingData
from deepmask.networks.presets import PRESETS
from deepmask.runtime.model.manifest import Scales
from tests.networks import toy

Drawn = tuple[Path, Path]
ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("coco", "deepmask", "evaluate", "export", "networks", "runtime", "train", "benchmarks")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> toy.ToyNetwork:
    """A network that scores a cell by how bright it is, of a family in the table."""
    monkeypatch.setitem(FAMILIES, "toy", toy.TOY)
    network = toy.ToyNetwork(toy.ToyConfig(channels=1)).eval()
    weights = dict(network.layers.named_parameters())
    with torch.no_grad():
        for weight in weights.values():
            weight.zero_()
        weights["0.weight"].fill_(1 / (3 * toy.STRIDE**2))
        weights["1.weight"].fill_(1)
        weights["3.weight"][0, 0, 2, 2] = 1
    return network


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_training_to_evaluation(drawn: Drawn, tmp_path: Path) -> None:
    """Commands that load networks know the toy by its tables, those that run them need no table."""
    annotations, images = map(str, drawn)
    runs, model = tmp_path / "run", str(tmp_path / "model")
    train = (
        *("deepmask-train", "--preset", "toy", "--average", "0.9"),
        *("--train-annotations", annotations, "--train-images", images),
        *("--val-annotations", annotations, "--val-images", images, "--recall-images", "2"),
    )
    whole = tmp_path / "whole"
    told = run(
        *(sys.executable, "-m", "tests.networks.toy"),
        *(*train, "--init", "random", "--steps", "2", "--out", str(runs), "then"),
        *(*train, "--resume", "--steps", "4", "--out", str(runs), "then"),
        *(*train, "--init", "random", "--steps", "4", "--out", str(whole), "then"),
        *("deepmask-export", str(runs / "last.pt"), "--out", model),
    )
    assert "toy: 0.00254 M parameters" in told
    assert re.search(
        r"steps 2 to 4\n(step 3/4 .*\n)?step 4/4  score \S+ mask \S+ \d+ pictures/s \| AR@100", told
    )
    weights = [torch.load(one / "last.pt")["weights"] for one in (runs, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with (runs / "log.csv").open() as file:
        assert {"score_loss", "mask_loss", "segm_AR@100"} <= set(next(csv.reader(file)))
    assert len(re.findall(r"^ *\d+×\d+ +\d+ +– +\d\.\de-\d\d +\d\.\de", told, re.MULTILINE)) == 4

    picture, found = str(drawn[1] / "000000000001.png"), tmp_path / "proposals.json"
    told = run(
        "deepmask-trt-run", picture, "--model", model, *("--out", str(found), "--proposals", "1000")
    )
    assert "1000 proposals" in told
    assert len(json.loads(found.read_text())) == 1000
    told = run(
        *("deepmask-eval", "--annotations", annotations, "--images", images),
        *("--model", model, "--out", str(tmp_path / "eval")),
    )
    assert "6 images, 18 objects" in told


def test_it_needs_its_module_and_the_two_tables() -> None:
    """No file of the product mentions it, and it imports nothing of other tests."""
    assert "toy" not in FAMILIES
    assert "toy" not in PRESETS
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    word = re.compile(r"toy\b", re.IGNORECASE)
    assert [path for path in files if word.search(path.read_text(encoding="utf-8"))] == []
    assert not word.search((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {name for name in imported(Path(toy.__file__)) if name.startswith("tests")} == set()


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


@pytest.mark.parametrize(("row", "col"), [(0, 3), (5, 9), (14, 19)])
def test_a_location_is_the_window_around_its_cell(
    network: toy.ToyNetwork, row: int, col: int
) -> None:
    """One cell is bright: the best proposal is a disc around it, cut at the picture's edge."""
    stride, reach = toy.STRIDE, 0.8 * network.config.window / 2
    image = np.full((15 * stride, 20 * stride, 3), 40, np.uint8)
    cv2.rectangle(image, (col * stride, row * stride, stride, stride), (250, 250, 250), -1)
    with runnable(network, torch.device("cpu")) as model:
        found = model(image, proposals=1, scales=Scales(0, 0, 1), threshold=0.5)
    x, y, width, height = found.boxes[0]
    for start, size, index, side in ((x, width, col, 160), (y, height, row, 120)):
        centre = stride * (index + 0.5)
        ends = max(0, centre - reach), min(side, centre + reach)
        assert (start, start + size) == pytest.approx(ends, abs=1.5)


def test_data_that_it_cannot_learn_from_is_refused(drawn: Drawn) -> None:
    found, preset = read_coco(*drawn), toy.TOY_PRESET
    with pytest.raises(ValueError, match="leave --mask-annotations out"):
        toy.toy_batches(TrainingData(found, [found]), preset.config, preset.recipe)
    nothing = replace(found, instances=())
    with pytest.raises(ValueError, match="no object"):
        toy.toy_batches(TrainingData(nothing), preset.config, preset.recipe)


def test_shares_of_a_batch_add_up_to_its_losses(drawn: Drawn) -> None:
    found, preset = read_coco(*drawn), toy.TOY_PRESET
    network = toy.ToyNetwork(preset.config).eval()

    def losses(rank: int, size: int) -> list[float]:
        data = TrainingData(found, rank=rank, size=size)
        batch = toy.toy_batches(data, preset.config, preset.recipe)(3)
        return [loss.item() for loss in toy.toy_losses(network, batch).values()]

    shares = zip(losses(0, 3), losses(1, 3), losses(2, 3), strict=True)
    assert [sum(one) for one in shares] == pytest.approx(losses(0, 1))
