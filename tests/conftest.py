"""Synthetic scenes and the place of real data, for every room's tests."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig, sharpened
from deepmask.networks.patches.recipe import DeepMaskRecipe, SharpMaskRecipe
from deepmask.networks.presets import PRESETS

#: The same examples in every run, so that a failure is always a change's; to look for new ones:
#: `pytest --hypothesis-profile=default`. How long an example takes decides nothing.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Tests run this environment's installed commands, also where it is not activated.

    A script's background job is started with Ctrl-C ignored, and hands that on to every command
    that a test starts and interrupts.

    Several workers of pytest-xdist share the cores: one OpenMP thread for PyTorch in each of them,
    and in what they start.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Scene:
    """A drawn picture, (H, W, 3) uint8 RGB, and the (H, W) bool mask of each object in it."""

    image: npt.NDArray[np.uint8]
    masks: list[npt.NDArray[np.bool_]]


def draw_scene(seed: int, height: int, width: int, objects: int = 3) -> Scene:
    """Dark and bright rectangles and ellipses on a noisy gray; later ones hide earlier ones."""
    rng = np.random.default_rng(seed)
    image = rng.integers(108, 148, (height, width, 3)).astype(np.uint8)
    masks: list[npt.NDArray[np.bool_]] = []
    for _ in range(objects):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        half_y, half_x = (int(v) for v in rng.integers(3, max(4, min(height, width) // 4), 2))
        shape = np.zeros((height, width), np.uint8)
        if rng.random() < 0.5:
            shape[max(0, y - half_y) : y + half_y, max(0, x - half_x) : x + half_x] = 1
        else:
            cv2.ellipse(shape, (x, y), (half_x, half_y), 0, 0, 360, 1, -1)
        mask = shape.astype(np.bool_)
        masks = [earlier & ~mask for earlier in masks] + [mask]
        image[mask] = rng.choice([20, 235]) + rng.integers(-20, 20, 3)
    return Scene(image, masks)


def draw_coco_set(folder: Path, seed: int, scenes: int = 6) -> tuple[Path, Path]:
    """A COCO set of pictures with three polygons each: annotation file and image folder."""
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
def scene() -> Callable[..., Scene]:
    """`draw_scene`, for tests that want a picture."""
    return draw_scene


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Annotation file and image folder of a small COCO set; not to be changed."""
    return draw_coco_set(tmp_path_factory.mktemp("scenes"), seed=0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real COCO subset; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DEEPMASK_DATA", beside))
    if not (folder / "coco").is_dir():
        pytest.skip(f"no real data at {folder} (set DEEPMASK_DATA)")
    return folder


@pytest.fixture
def tiny_model() -> DeepMaskConfig:
    """A network small enough to train in a test."""
    return DeepMaskConfig(
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
def tiny_refined(tiny_model: DeepMaskConfig) -> SharpMaskConfig:
    """The same with a refinement of four levels, to half of the patch."""
    return sharpened(tiny_model, (8, 6, 4, 4, 4), (8, 6, 6, 4), 32)


@pytest.fixture
def tiny_recipe() -> DeepMaskRecipe:
    """The small preset's recipe with few, small batches and no limit on magnification."""
    recipe = PRESETS["deepmask-r18"].recipe
    assert isinstance(recipe, DeepMaskRecipe)
    return replace(
        recipe,
        steps=6,
        batch=8,
        negatives=3,
        loss_size=28,
        negative_shift=16.0,
        max_octaves=6.0,
        warmup=1,
    )


@pytest.fixture
def tiny_sharp_recipe() -> SharpMaskRecipe:
    """The recipe of the small refined preset with few, small batches."""
    recipe = PRESETS["sharpmask-r18"].recipe
    assert isinstance(recipe, SharpMaskRecipe)
    return replace(
        recipe, steps=6, batch=6, loss_size=32, negative_shift=16.0, max_octaves=6.0, warmup=1
    )


@pytest.fixture
def maker(
    drawn: tuple[Path, Path], tiny_model: DeepMaskConfig, tiny_recipe: DeepMaskRecipe
) -> Callable[..., Callable[[int], object]]:
    """Return what makes batches of the drawn scenes for the small network, by recipe and seed."""
    from deepmask.coco.reader import read_coco
    from deepmask.networks.patches.batches import ScoredPatchBatches
    from deepmask.networks.patches.crops import Cropper
    from deepmask.networks.patches.sampling import Sampler

    def make(recipe: DeepMaskRecipe = tiny_recipe, seed: int = 0) -> ScoredPatchBatches:
        sampler = Sampler(read_coco(*drawn), [], tiny_model, recipe)
        return ScoredPatchBatches(sampler, Cropper(10**8), tiny_model, recipe, seed)

    return make
