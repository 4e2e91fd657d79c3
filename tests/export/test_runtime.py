"""The runtime gives what the PyTorch network gives for the same canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from deepmask import DeepMask
from deepmask.export.parity import relative_error
from deepmask.networks.deepmask import DeepMaskNetwork as Network
from deepmask.networks.dense.deepmask import margin_of
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import plan_views, render_view
from deepmask.train.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def image() -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (9, 12, 3), np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)[:131, :187]


def test_scores_and_masks_are_those_of_the_network(
    r18_export: Path, r18_checkpoint: Path, image: npt.NDArray[np.uint8]
) -> None:
    scales = Scales(-0.5, 0, 0.5)
    with DeepMask.load(r18_export, engine="onnxruntime", device="cpu") as model:
        found = model.windows(image, proposals=10_000, scales=scales)
        manifest = model.manifest
    views = plan_views(image.shape[0], image.shape[1], scales.factors(), manifest.views)
    counts = [location_counts(view, manifest.grids[0]) for view in views]
    network = load_checkpoint(r18_checkpoint).build()
    assert isinstance(network, Network)
    half = r18_export.name.endswith("fp16")
    tolerance = 1e-3 if half else 1e-4  # the checkpoint's weights are not rounded
    chosen = found.selection
    assert len(chosen) == sum(rows * cols for rows, cols in counts)
    for index in (0, 1, len(chosen) // 2, len(chosen) - 1):
        view = views[chosen.view[index]]
        canvas = torch.from_numpy(render_view(image, view, manifest.views))
        row, col = int(chosen.row[index]), int(chosen.col[index])
        score, mask = at_location(network, canvas, row, col)
        assert relative_error(chosen.logit[index], score) <= tolerance
        assert relative_error(found.logits[index], mask) <= tolerance


def at_location(
    network: Network, canvas: torch.Tensor, row: int, col: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Score and mask logits of one window of a canvas."""
    cells, margin = network.config.cells, margin_of(network.config)
    rows = slice(margin + row, margin + row + cells)
    cols = slice(margin + col, margin + col + cells)
    with torch.no_grad():
        window = network.features(canvas)[:, :, rows, cols]
        return network.score(window)[0].numpy(), network.mask(window)[0].numpy()
