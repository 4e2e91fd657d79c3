"""The runtime gives what the PyTorch network gives for the same canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deepmask import DeepMask
from deepmask.export.parity import relative_error
from deepmask.networks.deepmask import DeepMaskNetwork as Network
from deepmask.networks.dense.graphs import margin_of
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.views.pyramid import plan_pyramid, render_level
from deepmask.train.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (9, 12, 3), np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)[:131, :187]


def test_scores_and_masks_are_those_of_the_network(
    r18_export: Path, r18_checkpoint: Path, image: np.ndarray
) -> None:
    scales = Scales(-0.5, 0, 0.5)
    with DeepMask.load(r18_export, engine="onnxruntime", device="cpu") as model:
        proposals = model(image, proposals=10_000, scales=scales)
        levels = plan_pyramid(*image.shape[:2], scales.factors(), model.manifest)
        canvases = [render_level(image, level, model.manifest) for level in levels]
    network = load_checkpoint(r18_checkpoint).build()
    half = r18_export.name.endswith("fp16")
    tolerance = 1e-3 if half else 1e-4  # the checkpoint's weights are not rounded
    assert len(proposals) == sum(level.rows * level.cols for level in levels)
    placement = proposals.placement
    for index in (0, 1, len(proposals) // 2, len(proposals) - 1):
        ratios = [abs(level.ratio_y - placement.ratio_y[index]) for level in levels]
        canvas = torch.from_numpy(canvases[int(np.argmin(ratios))])
        score, mask = at_location(network, canvas, placement.row[index], placement.col[index])
        assert abs(proposals.scores[index] - score) <= tolerance
        assert relative_error(proposals.logits[index], mask) <= tolerance


def at_location(
    network: Network, canvas: torch.Tensor, row: int, col: int
) -> tuple[float, np.ndarray]:
    """Probability and mask logits of one window of a canvas."""
    cells, margin = network.config.cells, margin_of(network.config)
    rows = slice(margin + row, margin + row + cells)
    cols = slice(margin + col, margin + col + cells)
    with torch.no_grad():
        window = network.features(canvas)[:, :, rows, cols]
        return float(network.score(window).sigmoid()), network.mask(window)[0].numpy()
