"""The head of Fast R-CNN: the level that a box is read from, and what is said of it."""

from __future__ import annotations

import torch

from deepmask.networks.boxes.head import BoxHead, level_of, of_own_level
from deepmask.networks.levels import STRIDES


def test_a_box_of_224_pixels_is_read_at_stride_16() -> None:
    """k = ⌊4 + log2(√(w·h) / 224)⌋ (eq. 4.1), limited to strides 8 to 128."""
    sides = [10, 111, 112, 223, 224, 447, 448, 895, 896, 1791, 1792, 5000]
    boxes = torch.tensor([[5.0, 5.0, 5.0 + side, 5.0 + side] for side in sides])
    assert level_of(boxes, STRIDES).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert level_of(torch.tensor([[0.0, 0.0, 448.0, 112.0]]), STRIDES).tolist() == [1]


def test_cells_are_those_of_the_own_level() -> None:
    aligned = [torch.full((2, 3, 2, 2), float(k)) for k in range(3)]
    boxes = torch.tensor([[0.0, 0.0, 224.0, 224.0], [0.0, 0.0, 10.0, 10.0]])
    cells = of_own_level(aligned, boxes, (4, 8, 16))
    assert torch.equal(cells[0], aligned[2][0])
    assert torch.equal(cells[1], aligned[0][0])


def test_all_names_start_alike_and_boxes_as_they_are() -> None:
    head = BoxHead(inputs=12, categories=4, hidden=6, dropout=0.5).eval()
    logits, offsets = head(torch.rand(3, 3, 2, 2))
    assert (logits.shape, offsets.shape) == ((3, 5), (3, 4, 4))
    assert logits.abs().max() < 0.5
    assert offsets.abs().max() < 0.05
