"""Non-maximum suppression: equal to going from box to box."""

from __future__ import annotations

import torch
from torch import Tensor

from deepmask.networks.anchors.nms import kept_by_nms
from deepmask.networks.boxes.offsets import box_ious


def one_by_one(boxes: Tensor, iou: float) -> list[bool]:
    """Take the boxes in their order; leave out what overlaps one that was taken."""
    kept: list[int] = []
    for k in range(len(boxes)):
        if not kept or float(box_ious(boxes[k : k + 1], boxes[kept]).max()) <= iou:
            kept.append(k)
    return [k in kept for k in range(len(boxes))]


def test_the_same_as_one_by_one() -> None:
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=random) * 60
    boxes = torch.cat([corner, corner + 10 + torch.rand(300, 2, generator=random) * 40], 1)
    for iou in (0.2, 0.5, 0.7):
        expected = one_by_one(boxes, iou)
        assert kept_by_nms(boxes, iou).tolist() == expected
        assert 0 < sum(expected) < 300


def test_a_row_of_boxes_each_in_the_next_ones_way() -> None:
    """The first stands for the second, which then does not stand for the third, and so on."""
    left = torch.arange(40.0) * 4
    boxes = torch.stack([left, 0 * left, left + 10, 0 * left + 10], 1)
    assert kept_by_nms(boxes, 0.4).tolist() == [k % 2 == 0 for k in range(40)]


def test_no_box_is_none() -> None:
    assert kept_by_nms(torch.zeros(0, 4), 0.5).tolist() == []
