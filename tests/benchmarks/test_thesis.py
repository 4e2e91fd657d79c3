"""The arithmetic beside the thesis' times is that of the graphs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.thesis import MASKS, SECONDS, gflop
from deepmask.networks.presets import PRESETS

#: Sides of the seven scaled images of 640×480, to whole cells, and the border of 160 px windows.
SIDES = ((96, 128), (128, 160), (176, 240), (240, 320), (352, 464), (480, 640), (688, 912))
BORDER = 96


def test_every_row_has_a_preset() -> None:
    assert set(SECONDS) <= set(PRESETS)
    sharp, ours = SECONDS["sharpmask"], SECONDS["deepmask-ours"]
    assert sharp is not None
    assert ours is not None
    assert sharp / ours == pytest.approx(0.76 / 0.46)


def test_refinement_costs_what_its_layers_say() -> None:
    sharp = PRESETS["sharpmask-r18"].config
    small = replace(sharp, channels=8, rank=16, score_width=8)  # quick to make
    found, coarse = gflop(small), gflop(small.coarse())
    assert found["score"] == coarse["score"]
    canvases = sum((height + 2 * BORDER) * (width + 2 * BORDER) for height, width in SIDES)
    # Multiply-adds a pixel of the canvas: three 3×3 convolutions at strides 16, 8, 4 and 2.
    skips = sum(
        9 * (width * reduced + reduced * k + k * k_next) / stride**2
        for width, reduced, k, k_next, stride in (
            (256, 64, 32, 16, 16),
            (128, 64, 16, 8, 8),
            (64, 32, 8, 4, 4),
            (64, 16, 4, 4, 2),
        )
    )
    assert found["trunk"] - coarse["trunk"] == pytest.approx(2e-9 * skips * canvases, rel=1e-6)
    # A window: the linear layer to 16 maps of 10×10, then convolutions at 10, 20 and, for the 2×2
    # phases of the largest map, twice at 40.
    window = 16 * 16 * 100 + 9 * (16 * 32 * 100 + 8 * 16 * 400 + (4 * 16 + 16 * 4) * 1600)
    assert found["mask"] == pytest.approx(2e-9 * window * MASKS, rel=1e-6)
