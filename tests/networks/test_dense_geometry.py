"""What training cuts is what the runtime sees: the same window, to the pixel, and back again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from deepmask.coco.annotations import Annotation, Image
from deepmask.networks.dense.deepmask import border_of
from deepmask.networks.families import describe
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.sampling import Window
from deepmask.networks.presets import PRESETS
from deepmask.runtime.io import rle
from deepmask.runtime.model.manifest import Grid
from deepmask.runtime.predict.run_lengths import mask_runs
from deepmask.runtime.views.grids import location_counts, window_boxes
from deepmask.runtime.views.views import View, plan_views, render_view
from tests.networks.patch_presets import PATCH_PRESETS

HEIGHT, WIDTH = 150, 210
STRIDE = 16


@pytest.mark.parametrize("preset", PATCH_PRESETS)
@pytest.mark.parametrize(("row", "col"), [(0, 0), (4, 7), (10, 14)])
def test_a_location_shows_the_patch_centred_there(
    tmp_path: Path, preset: str, row: int, col: int
) -> None:
    config = PRESETS[preset].config
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[:, :, ::-1])
    image = Image(1, tmp_path / "a.png", WIDTH, HEIGHT)
    stride = config.stride
    window = Window(stride * col, stride * row, 1.0)
    patch = Cropper(10**8).patch(image, window, config.patch).astype(float)
    border = border_of(config.patch)
    told = describe(config)
    (view,) = plan_views(HEIGHT, WIDTH, [1.0], told.views)
    canvas = render_view(pixels, view, told.views)[0].transpose(1, 2, 0)
    (grid,) = told.grids
    assert location_counts(view, grid) == (-(-HEIGHT // stride) + 1, -(-WIDTH // stride) + 1)
    top, left = (border + stride * k - config.patch // 2 for k in (row, col))
    seen = canvas[top : top + config.patch, left : left + config.patch]
    assert np.abs(patch - seen).max() <= 0.5  # the gray of a byte, and of a float


@pytest.mark.parametrize("ratio", [0.4, 1.0, 2.1])
@pytest.mark.parametrize("size", [56, 112])
def test_a_training_mask_is_decoded_where_it_came_from(
    tmp_path: Path, ratio: float, size: int
) -> None:
    """A mask target, taken for a network's answer, covers its object again."""
    box = (70.0, 50.0, 40.0, 60.0)
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    image = Image(1, tmp_path / "none.png", WIDTH, HEIGHT)
    instance = Annotation(1, image, 1, False, width * height, box, [corners])
    row, col = (round(centre * ratio / STRIDE) for centre in (y + height / 2, x + width / 2))
    window = Window(STRIDE * col / ratio, STRIDE * row / ratio, ratio)
    target = Cropper(10**8).mask(instance, window, 160, size).astype(np.float32) - 0.5
    grid = Grid("windows", "score", 0, STRIDE, 160, size, 0.0)
    view = View(ratio, 0, 0, ratio, ratio, 0, 0)
    boxes = window_boxes(np.array([row]), np.array([col]), [grid], [view])
    (runs,) = mask_runs(target[None], 0.0, boxes, (HEIGHT, WIDTH))
    found = rle.to_array(rle.from_counts(runs, HEIGHT, WIDTH))
    rows, cols = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    ends = [rows[0], rows[-1] + 1, cols[0], cols[-1] + 1]
    sample = 160 / size / ratio
    assert np.abs(np.subtract(ends, [y, y + height, x, x + width])).max() <= 0.5 * sample + 0.5
