"""Anchors as boxes: their centres, and the order that maps are read in."""

from __future__ import annotations

import torch

from deepmask.networks.anchors.boxes import anchor_boxes, flat
from deepmask.networks.anchors.levels import AnchorLevel

LEVEL = AnchorLevel("p3", 8, ((32.0, 16.0), (10.0, 40.0)))


def test_anchors_are_centred_at_the_middle_of_their_cells() -> None:
    boxes = anchor_boxes(LEVEL, 3, 4).view(2, 3, 4, 4)
    assert boxes[0, 0, 0].tolist() == [4 - 8, 4 - 16, 4 + 8, 4 + 16]
    assert boxes[1, 2, 3].tolist() == [28 - 20, 20 - 5, 28 + 20, 20 + 5]
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    for i in range(3):
        for j in range(4):
            assert centres[:, i, j].tolist() == [[8 * (j + 0.5), 8 * (i + 0.5)]] * 2


def test_rows_of_maps_are_those_of_the_anchors() -> None:
    """Channel a · K + k of location (i, j) is value k of anchor a."""
    fine, coarse = torch.rand(2, 2 * 3, 3, 4), torch.rand(2, 2 * 3, 2, 2)
    rows = flat([fine, coarse], 3)
    assert rows.shape == (2, 2 * 12 + 2 * 4, 3)
    for a, i, j, k in ((0, 0, 0, 0), (1, 2, 3, 2), (1, 0, 2, 1)):
        assert torch.equal(rows[:, (a * 3 + i) * 4 + j, k], fine[:, a * 3 + k, i, j])
        i, j = i % 2, j % 2
        row = 2 * 12 + (a * 2 + i) * 2 + j
        assert torch.equal(rows[:, row, k], coarse[:, a * 3 + k, i, j])
    assert len(anchor_boxes(LEVEL, 3, 4)) == 24
