"""Boxes that a network of masks proposes: the tight boxes of its best masks."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from deepmask.networks.dense.fpn_lite import THRESHOLD, first_score
from deepmask.networks.fpn_lite import Dense, FpnLite
from deepmask.networks.levels import SLOTS, STRIDES
from deepmask.networks.window_table import Windows


@torch.no_grad()
def propose_boxes(network: FpnLite, dense: Dense, size: tuple[int, int], count: int) -> Tensor:
    """Return (n, 4) float32 boxes x0, y0, x1, y1 in pixels of the canvas, n at most `count`.

    dense  of one picture, whose part of the canvas has the height and width `size`.
    Windows are those of the best first scores. A mask without a pixel has no box.
    """
    found = [
        _boxes_of(network, dense, slot, windows)
        for slot, windows in enumerate(_best_windows(dense, size, count))
        if len(windows.level)
    ]
    boxes = torch.cat(found)
    limits = boxes.new_tensor([size[1], size[0]] * 2)
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    return boxes[((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)]


def _best_windows(dense: Dense, size: tuple[int, int], count: int) -> list[Windows]:
    """Return the windows of each slot that are among the best `count` of the picture's."""
    scores, places = [], []
    for level, stride in enumerate(STRIDES):
        rows, cols = (-(-side // stride) for side in size)
        maps = (dense.objectness[level], dense.quality[level])
        logits = first_score(*(one[0, :, :rows, :cols].float() for one in maps))
        place = torch.ones_like(logits, dtype=torch.bool).nonzero()
        scores.append(logits.flatten())
        places.append(torch.cat([torch.full_like(place[:, :1], level), place], 1))
    best = torch.cat(scores).topk(min(count, sum(map(len, scores)))).indices
    chosen = torch.cat(places)[best]  # level, slot, row, column
    of_slots = [chosen[chosen[:, 1] == slot] for slot in range(len(SLOTS))]
    return [Windows(c[:, 0], torch.zeros_like(c[:, 0]), c[:, 2], c[:, 3]) for c in of_slots]


def _boxes_of(network: FpnLite, dense: Dense, slot: int, windows: Windows) -> Tensor:
    # The first scores decide no mask, only how it is ranked.
    unused = dense.fine.new_zeros(len(windows.level), 2)
    masks, _ = network.masks(dense, windows, slot, unused)
    inside = masks.float() > log(THRESHOLD / (1 - THRESHOLD))
    stride = torch.tensor(STRIDES, device=inside.device)[windows.level]
    side = stride * SLOTS[slot].fine / 2
    spans = []
    for cells, centre in ((inside.any(1), windows.j), (inside.any(2), windows.i)):
        pixels = side / cells.shape[1]
        start = stride * (centre + 0.5) - side / 2
        spans.append(torch.stack([start + k * pixels for k in _ends(cells)], 1))
    x, y = spans
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).float()


def _ends(cells: Tensor) -> tuple[Tensor, Tensor]:
    """(n, m) bool → the first that is set and one past the last, (n,) each; both 0 for none."""
    first = cells.int().argmax(1)
    last = cells.shape[1] - cells.flip(1).int().argmax(1)
    return first, torch.where(cells.any(1), last, first)
