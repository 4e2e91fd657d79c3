"""What training cuts is what the runtime sees: the same window, to the pixel, and back again."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deepmask.coco.annotations import Annotation, Image
from deepmask.networks.config import BORDER_FILL
from deepmask.networks.dense.graphs import border_of
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.sampling import Window
from deepmask.networks.presets import PRESETS
from deepmask.runtime.predict.paste import Placement, decode_mask
from deepmask.runtime.views.geometry import WindowGrid
from deepmask.runtime.views.pyramid import plan_pyramid, render_level

HEIGHT, WIDTH = 150, 210
STRIDE = 16


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("row", "col"), [(0, 0), (4, 7), (10, 14)])
def test_a_location_shows_the_patch_centred_there(tmp_path, preset, row, col):
    config = PRESETS[preset].config
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[:, :, ::-1])
    image = Image(1, tmp_path / "a.png", WIDTH, HEIGHT)
    stride = config.stride
    window = Window(stride * col, stride * row, 1.0)
    patch = Cropper(10**8).patch(image, window, config.patch).astype(float)
    border = border_of(config.patch)
    manifest = SimpleNamespace(stride=stride, border=border, fill=BORDER_FILL)
    (level,) = plan_pyramid(HEIGHT, WIDTH, [1.0], manifest)
    canvas = render_level(pixels, level, manifest)[0].transpose(1, 2, 0)
    assert (level.rows, level.cols) == (-(-HEIGHT // stride) + 1, -(-WIDTH // stride) + 1)
    top, left = (border + stride * k - config.patch // 2 for k in (row, col))
    seen = canvas[top : top + config.patch, left : left + config.patch]
    assert np.abs(patch - seen).max() <= 0.5  # the gray of a byte, and of a float


@pytest.mark.parametrize("ratio", [0.4, 1.0, 2.1])
@pytest.mark.parametrize("size", [56, 112])
def test_a_training_mask_is_decoded_where_it_came_from(tmp_path, ratio, size):
    """A mask target, taken for a network's answer, covers its object again."""
    box = (70.0, 50.0, 40.0, 60.0)
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    image = Image(1, tmp_path / "none.png", WIDTH, HEIGHT)
    instance = Annotation(1, image, 1, False, width * height, box, [corners])
    row, col = (round(centre * ratio / STRIDE) for centre in (y + height / 2, x + width / 2))
    window = Window(STRIDE * col / ratio, STRIDE * row / ratio, ratio)
    target = Cropper(10**8).mask(instance, window, 160, size).astype(np.float32) - 0.5
    placement = Placement(
        *(np.array([k], np.int64) for k in (row, col)),
        *(np.array([ratio]) for _ in range(2)),
        HEIGHT,
        WIDTH,
        WindowGrid(160, STRIDE, size),
    )
    found = decode_mask(target, 0.0, placement, 0)
    rows, cols = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    ends = [rows[0], rows[-1] + 1, cols[0], cols[-1] + 1]
    sample = 160 / size / ratio
    assert np.abs(np.subtract(ends, [y, y + height, x, x + width])).max() <= 0.5 * sample + 0.5
