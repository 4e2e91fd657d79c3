"""Greedy non-maximum suppression of a few thousand boxes, in training."""

from __future__ import annotations

import torch
from torch import Tensor

from deepmask.networks.boxes.offsets import box_ious


def kept_by_nms(boxes: Tensor, iou: float) -> Tensor:
    """Say which of (n, 4) boxes, best first, overlap no better one that is kept by more than `iou`.

    Returns (n,) bool. A box depends on better ones only, so that deciding all at once, again and
    again until nothing changes, ends where going from box to box would: after as many rounds as
    boxes stand in each other's way in a row, which are few.
    """
    over = torch.triu(box_ious(boxes, boxes) > iou, diagonal=1).float()
    kept = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    while True:
        now = (kept.float() @ over) == 0
        if torch.equal(now, kept):
            return kept
        kept = now
