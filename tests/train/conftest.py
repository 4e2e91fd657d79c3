"""A small COCO-format set of drawn scenes: coloured polygons on noise, every one outlined."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepmask.train.config import ModelConfig
from deepmask.train.recipe import RECIPES, Recipe

SCENES = 6


def draw_set(folder: Path, seed: int, scenes: int = SCENES) -> tuple[Path, Path]:
    """Draw `scenes` pictures of three convex polygons each; returns annotation file and folder."""
    rng = np.random.default_rng(seed)
    images = folder / "images"
    images.mkdir(parents=True)
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for number in range(1, scenes + 1):
        height, width = (int(v) for v in rng.integers(120, 200, 2))
        picture = rng.integers(90, 160, (height, width, 3)).astype(np.uint8)
        for _ in range(3):
            centre = rng.uniform(30, (width - 30, height - 30))
            angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
            radius = rng.uniform(14, 26)
            points = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            cv2.fillPoly(
                picture, [points.round().astype(np.int32)], rng.integers(0, 255, 3).tolist()
            )
            low, high = points.min(0), points.max(0)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": int(rng.integers(1, 4)),
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(cv2.contourArea(points.astype(np.float32))),
                    "iscrowd": 0,
                    "segmentation": [points.ravel().tolist()],
                }
            )
        name = f"{number:012d}.png"
        cv2.imwrite(str(images / name), picture)
        content["images"].append(
            {"id": number, "file_name": name, "width": width, "height": height}
        )
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path, images


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Annotation file and image folder of drawn scenes; not to be changed."""
    return draw_set(tmp_path_factory.mktemp("scenes"), seed=0)


@pytest.fixture
def tiny_model() -> ModelConfig:
    """A network small enough to train in a test."""
    return ModelConfig(
        patch=64,
        context=16,
        trunk="resnet18",
        channels=8,
        mask_head="low-rank",
        rank=16,
        mask_size=14,
        score_head="shared",
        score_width=16,
    )


@pytest.fixture
def tiny_recipe() -> Recipe:
    """The small preset's recipe with few, small batches and no limit on magnification."""
    return replace(
        RECIPES["deepmask-r18"],
        steps=6,
        batch=8,
        negatives=3,
        loss_size=28,
        negative_shift=16.0,
        max_octaves=6.0,
        warmup=1,
    )
