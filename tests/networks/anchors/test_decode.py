"""From logits and offsets to boxes: the inverse of what is learned."""

from __future__ import annotations

import torch

from deepmask.networks.anchors.boxes import anchor_boxes
from deepmask.networks.anchors.decode import best_boxes
from deepmask.networks.anchors.levels import AnchorLevel
from deepmask.networks.anchors.tower import Anchored
from deepmask.networks.boxes.offsets import encode

LEVELS = (
    AnchorLevel("p3", 8, ((32.0, 16.0), (16.0, 32.0))),
    AnchorLevel("p4", 16, ((64.0, 64.0), (64.0, 64.0))),
)


def silence(categories: int = 2) -> Anchored:
    """Maps of a canvas of 64 × 96 pixels on which nothing is found."""
    cells = [(8, 12), (4, 6)]
    return Anchored(
        [torch.full((1, 2 * categories, *size), -9.0) for size in cells],
        [torch.zeros(1, 8, *size) for size in cells],
    )


def test_a_box_that_was_encoded_is_found_again() -> None:
    found, wanted = silence(), torch.tensor([[20.0, 10.0, 50.0, 30.0]])
    anchor, i, j = 1, 2, 4
    row = (anchor * 8 + i) * 12 + j
    offsets = encode(anchor_boxes(LEVELS[0], 8, 12)[row : row + 1], wanted)
    found.offsets[0][0, 4 * anchor : 4 * anchor + 4, i, j] = offsets[0]
    found.logits[0][0, 2 * anchor + 1, i, j] = 2.0
    best = best_boxes(found, LEVELS, (64, 96), of_level=50, count=1, iou=0.5)
    torch.testing.assert_close(best.boxes, wanted, rtol=1e-5, atol=1e-4)
    assert best.category.tolist() == [1]
    torch.testing.assert_close(best.chances, torch.sigmoid(torch.tensor([2.0])))


def test_a_better_box_stands_for_others_of_its_category_only() -> None:
    found = silence()
    for channel, logit in ((0, 3.0), (1, 2.0), (2, 1.0)):  # categories 0, 1 and 0 of one place
        found.logits[1][0, channel, 1, 1] = logit
    best = best_boxes(found, LEVELS, (64, 96), of_level=50, count=2, iou=0.5)
    assert best.category.tolist() == [0, 1]
    assert torch.equal(best.boxes[0], best.boxes[1])
    assert best.boxes[0].tolist() == [0, 0, 56, 56]


def test_places_beyond_the_picture_are_not_looked_at() -> None:
    found = silence()
    found.logits[0][0, 0, 7, 11] = 5.0
    inside = best_boxes(found, LEVELS, (64, 96), of_level=5, count=1, iou=0.5)
    assert inside.chances[0] > 0.9
    beyond = best_boxes(found, LEVELS, (60, 80), of_level=5, count=1, iou=0.5)
    assert beyond.chances[0] < 0.1
    assert (beyond.boxes <= torch.tensor([80.0, 60.0, 80.0, 60.0])).all()
