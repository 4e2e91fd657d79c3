"""The commands that are killed: small, and the same whenever they are undisturbed.

Each leaves files in a folder. These can be checked for being whole, and compared with those of an
undisturbed run.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from deepmask.evaluate.folder import SHEET_NAME
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.engines.tensorrt.plan_cache import model_plans
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.model.folder import load_manifest
from deepmask.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.conftest import draw_coco_set
from tests.evaluate.scenes import labelled_set
from tests.runtime.cache_machine import GPU, write_model
from tests.runtime.fake_builder import fake_library
from tests.runtime.square_model import write_square_model

TINY = DeepMaskConfig(64, 0, "resnet18", 8, "low-rank", 12, 14, "shared", 20)
PICTURES = 24


@dataclass(frozen=True)
class Inputs:
    """What the commands read; made once."""

    labels: Path
    images: Path
    squares: Path
    pictures: Path
    picture_labels: Path
    checkpoint: Path

    @staticmethod
    def make(folder: Path) -> Inputs:
        labels, images = draw_coco_set(folder / "train", seed=0, scenes=3)
        squares = write_square_model(folder / "squares")
        pictures = folder / "pictures"
        pictures.mkdir()
        content = labelled_set(0, images=PICTURES)
        rng = np.random.default_rng(0)
        for entry in content["images"]:
            picture = rng.integers(100, 156, (150, 200, 3), np.uint8)
            picture[60:100, 80:120] = 255
            Image.fromarray(picture).save(pictures / entry["file_name"])
        (folder / "pictures.json").write_text(json.dumps(content))
        torch.manual_seed(0)
        model = DeepMaskNetwork(TINY).eval()
        save_checkpoint(Checkpoint(TINY, model.state_dict(), {}), folder / "tiny.pt")
        files = (folder / "pictures.json", folder / "tiny.pt")
        return Inputs(labels, images, squares, pictures, *files)


class Command(ABC):
    """One command line in a folder of its own."""

    name: str

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    @abstractmethod
    def arguments(self, folder: Path) -> list[str]:
        """Return the command and its options, to begin or to go on with what is in the folder."""

    @abstractmethod
    def require_whole(self, folder: Path) -> None:
        """Raise unless every file that has its final name is whole."""

    def content(self, folder: Path) -> Any:
        """Return what must equal that of an undisturbed run once the command has finished."""
        paths = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


class Training(Command):
    """Saves after every step; resumed, it must end in the very same weights."""

    name = "train"

    def arguments(self, folder: Path) -> list[str]:
        inputs = self.inputs
        line = ["train", "--preset", "deepmask-r18", "--train-annotations", str(inputs.labels)]
        line += ["--train-images", str(inputs.images), "--out", str(folder), "--precision", "fp32"]
        line += ["--steps", "6", "--batch", "4", "--negatives", "2", "--max-octaves", "6"]
        line += ["--save-seconds", "0", "--log-every", "1", "--init", "random"]
        return [*line, "--resume"] if (folder / "last.pt").exists() else line

    def require_whole(self, folder: Path) -> None:
        if (folder / "last.pt").exists():
            load_checkpoint(folder / "last.pt").build()

    def content(self, folder: Path) -> Any:
        """Return the weights, the log's rows without times, and the names of all files."""
        checkpoint = load_checkpoint(folder / "last.pt")
        wanted = ("step", "mask_loss", "score_loss")
        with (folder / "log.csv").open(newline="") as file:
            rows = [[row[name] for name in wanted] for row in csv.DictReader(file)]
        weights = {name: value.numpy().tobytes() for name, value in checkpoint.weights.items()}
        names = sorted(path.name for path in folder.iterdir())
        return checkpoint.training["step"], rows, weights, names


class Export(Command):
    """Replaces another model's folder, which holds one model or the other at any time."""

    name = "export"

    def arguments(self, folder: Path) -> list[str]:
        if not (folder / "model").exists():
            shutil.copytree(self.inputs.squares, folder / "model")
        return ["export", str(self.inputs.checkpoint), "--out", str(folder / "model"), "--force"]

    def require_whole(self, folder: Path) -> None:
        """Check that the folder is a model, hashes and all, with no file that it does not name."""
        if (folder / "model").exists():
            files = set(load_manifest(folder / "model").files())
            names = {path.name for path in (folder / "model").iterdir()}
            assert names - {RECORD} == {"model.json", *files}


class HalfExport(Export):
    name = "fp16"

    def arguments(self, folder: Path) -> list[str]:
        return [*super().arguments(folder), "--precision", "fp16"]


class Int8Export(Export):
    """Goes through a float32 model within the folder."""

    name = "int8"

    def arguments(self, folder: Path) -> list[str]:
        calibration = ["--calibration", str(self.inputs.pictures)]
        return [*super().arguments(folder), "--precision", "int8", *calibration]


class Evaluation(Command):
    """Appends a record for each image, and goes on after the last whole one."""

    name = "eval"

    def arguments(self, folder: Path) -> list[str]:
        line = ["eval", "--annotations", str(self.inputs.picture_labels)]
        line += ["--images", str(self.inputs.pictures), "--model", str(self.inputs.squares)]
        line += ["--engine", "onnxruntime", "--device", "cpu", "--out", str(folder)]
        return [*line, "--resume"] if (folder / "records.jsonl").exists() else line

    def require_whole(self, folder: Path) -> None:
        for path in folder.glob("*.json"):
            json.loads(path.read_text())

    def content(self, folder: Path) -> Any:
        """Return the records without times, the metrics, the sheet, and the names of all files."""
        lines = map(json.loads, (folder / "records.jsonl").read_text().splitlines())
        records = sorted((one["image_id"], one["proposals"], str(one["ranks"])) for one in lines)
        metrics = json.loads((folder / "metrics.json").read_text())
        names = sorted(path.relative_to(folder) for path in folder.rglob("*"))
        sheet = (folder / SHEET_NAME).read_bytes()
        return records, {kind: metrics[kind] for kind in ("segm", "bbox")}, names, sheet


class Batch(Command):
    """Writes results under a temporary name: without their end they never get the final one."""

    name = "run"

    def arguments(self, folder: Path) -> list[str]:
        line = ["run", str(self.inputs.pictures), "--model", str(self.inputs.squares)]
        line += ["--engine", "onnxruntime", "--device", "cpu", "--proposals", "50"]
        line += ["--out", str(folder / "p.json"), "--overlay", str(folder / "drawn")]
        return [*line, "--html", str(folder / "p.html")]

    def require_whole(self, folder: Path) -> None:
        for path in folder.glob("*.json"):
            json.loads(path.read_text())
        for path in folder.glob("*.html"):
            if not path.read_text().endswith("</html>\n"):
                raise AssertionError(f"{path} is cut short")
        for path in (folder / "drawn").glob("*.png"):
            Image.open(path).load()


class PlanBuild(Command):
    """Keeps a plan and its description in the cache; the builder is a fake of TensorRT's."""

    name = "build"

    def arguments(self, folder: Path) -> list[str]:
        (folder / "cache").mkdir(exist_ok=True)
        return ["build", str(folder / "model"), str(folder / "cache")]

    def require_whole(self, folder: Path) -> None:
        """Check that a plan taken from the cache is one that an undisturbed build makes."""
        _, good = build_plans(folder / "model", emptied(folder / "other"))
        cache = shutil.copytree(folder / "cache", folder / "copy", dirs_exist_ok=True)
        _, taken = build_plans(folder / "model", Path(cache))
        shutil.rmtree(folder / "copy")
        assert taken == good

    def content(self, folder: Path) -> Any:
        """Return the plans, read from the cache without building any again."""
        built, plans = build_plans(folder / "model", folder / "cache")
        assert built == []
        return plans, sorted(path.name for path in (folder / "cache").iterdir())


def build_plans(model: Path, cache: Path) -> tuple[list[str], dict[str, bytes]]:
    """Return which plans of a model the cache lacked and were built, and all of them."""
    built: list[str] = []

    def build(graph: dict[str, Any]) -> None:
        built.append(graph["name"])
        time.sleep(0.02)

    library = fake_library(building=build)
    manifest = write_model(model)
    return built, model_plans(manifest, model, library, GPU, cache=cache)


COMMANDS: dict[str, type[Command]] = {
    command.name: command
    for command in (Training, Export, HalfExport, Int8Export, Evaluation, Batch, PlanBuild)
}


def emptied(folder: Path) -> Path:
    """Return the folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
