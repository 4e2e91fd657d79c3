"""The examples, run as they stand. Triton's: tests/export."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.data import data_dir

from deepmask import DeepMask, read_image
from deepmask.coco.reader import read_coco
from tests.runtime.square_model import write_square_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand-made model, quicker than the shipped one."""
    return write_square_model(tmp_path_factory.mktemp("models") / "squares")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, scene: Callable[..., Any]) -> Path:
    """A folder of pictures in which that model finds something."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        Image.fromarray(scene(seed, 80, 100).image).save(folder / f"{seed}.png")
    return folder


def example(name: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def printed(name: str, *arguments: object, folder: Path) -> str:
    done = example(name, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_described_and_tested() -> None:
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")}
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+\.py)` \|", table, re.MULTILINE)) == scripts
    tests = [ROOT / "tests" / "test_examples.py", *(ROOT / "tests" / "export").glob("test_*.py")]
    texts = "".join(path.read_text(encoding="utf-8") for path in tests)
    assert {name for name in scripts if name not in texts} == set()


def test_a_folder_is_outlined_for_annotation_tools(
    images: Path, squares: Path, tmp_path: Path
) -> None:
    """What is written is read back as labels: the same objects, whose outlines fit their masks."""
    given = (images, "a.json", "--model", squares, "--suffix", ".png", "--top", 5)
    assert " objects in 3 photographs: a.json" in printed("preannotate.py", *given, folder=tmp_path)
    found = read_coco(tmp_path / "a.json", images)
    assert (len(found.images), found.problems) == (3, ())
    objects = found.by_image()
    with DeepMask.load(squares, device="cpu") as model:
        for image in found.images:
            wanted = model(read_image(images / image.path)).objects(5)
            assert [item.area for item in objects[image.id]] == wanted.areas.tolist()
    assert found.instances
    refused = example("preannotate.py", *given, folder=tmp_path)
    assert refused.returncode == 2
    assert "a.json exists: give another name" in refused.stderr


def test_objects_are_cropped(images: Path, squares: Path, tmp_path: Path) -> None:
    photograph = next(iter(sorted(images.iterdir())))
    told = printed("crop_objects.py", photograph, "crops", "--model", squares, folder=tmp_path)
    with DeepMask.load(squares, device="cpu") as model:
        objects = model(read_image(photograph)).objects()
    crops = sorted((tmp_path / "crops").iterdir())
    assert len(crops) == len(objects) == len(told.splitlines()) > 0
    for crop, (_, _, width, height) in zip(crops, objects.boxes, strict=True):
        with Image.open(crop) as picture:
            assert picture.width >= width
            assert picture.height >= height
    again = example("crop_objects.py", photograph, "crops", "--model", squares, folder=tmp_path)
    assert again.returncode != 0
    assert sorted((tmp_path / "crops").iterdir()) == crops


@pytest.mark.slow
def test_coins_are_counted(tmp_path: Path) -> None:
    """By the shipped model; there are 24."""
    coins = Path(data_dir) / "coins.png"
    told = printed("count_coins.py", coins, "--overlay", "counted.png", folder=tmp_path)
    assert 23 <= int(told.removesuffix(" coins\n")) <= 25
    with Image.open(tmp_path / "counted.png") as picture, Image.open(coins) as photograph:
        assert picture.size == photograph.size


def test_a_detector_is_fed(drawn: tuple[Path, Path], squares: Path, tmp_path: Path) -> None:
    annotations, images = drawn
    given = (annotations, images, "p.pkl", "--model", squares, "--proposals", 7)
    assert " boxes in 6 images: p.pkl" in printed("feed_detector.py", *given, folder=tmp_path)
    content = pickle.loads((tmp_path / "p.pkl").read_bytes())
    assert content["ids"] == [1, 2, 3, 4, 5, 6]
    assert content["bbox_mode"] == 0
    sizes = {image["id"]: image for image in json.loads(annotations.read_text())["images"]}
    for number, boxes, logits in zip(
        *(content[key] for key in ("ids", "boxes", "objectness_logits")), strict=True
    ):
        assert boxes.shape == (len(logits), 4)
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        assert boxes[:, 2].max() <= sizes[number]["width"]
        assert (np.diff(logits) <= 0).all()


def test_a_practice_set_is_drawn(tmp_path: Path) -> None:
    assert "3 pictures in train/, 2 in val/" in printed(
        "practice_set.py", "--train", 3, "--val", 2, folder=tmp_path
    )
    for name, count in (("train", 3), ("val", 2)):
        found = read_coco(tmp_path / f"instances_{name}.json", tmp_path / name)
        assert (len(found.images), found.problems) == (count, ())
        assert len(found.instances) == 4 * count
    refused = example("practice_set.py", folder=tmp_path)
    assert refused.returncode == 2
    assert "exists: run this in another folder" in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_data_gives_every_image_its_results(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    _, images = drawn
    folder = tmp_path / "images"
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "broken.png").write_text("no picture")
    model = write_square_model(tmp_path / "squares")
    script = ROOT / "examples" / "ray_data.py"
    command: list[str | Path] = [sys.executable, script, folder, tmp_path / "out"]
    done = subprocess.run(
        [*command, "--model", model, "--proposals", "20", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    parts = (tmp_path / "out").glob("*.json")
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert len(rows) == 7
    with DeepMask.load(model, device="cpu", threads=1) as alone:
        for row in rows:
            if row["path"].endswith("broken.png"):
                assert "not an image that can be read" in row["error"]
                continue
            found = alone(read_image(row["path"]), proposals=20)
            assert json.loads(row["results"]) == found.to_coco(row["image_id"])
