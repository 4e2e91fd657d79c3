"""The losses of `fpn-lite` on a batch, by name.

The second look learns together with the rest, from the network's own proposals on the batch: what
it scores high, and what it lets through among the thousand that a picture may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deepmask.networks.focal import focal_sum
from deepmask.networks.fpn_lite import Dense, FpnLite, SlotHead
from deepmask.networks.levels import SLOTS, STRIDES
from deepmask.networks.processes import of_whole_batch
from deepmask.networks.whole.batch import Batch
from deepmask.networks.whole.coverage import mask_ious, mask_targets
from deepmask.networks.whole.losses import OBJECT_WEIGHT, iou_sum, mask_loss, quality_sum
from deepmask.networks.whole.recipe import FpnLiteRecipe
from deepmask.networks.window_table import Windows

#: Proposals a picture for the second look: of the best few, and of all that it will rank.
BEST, BEST_DRAWN, RANKED, RANKED_DRAWN = 60, 20, 1000, 16
#: Masks of partly labelled pictures count for the second look from this IoU on.
MATCH = 0.5


def weights(recipe: FpnLiteRecipe) -> dict[str, float]:
    """Return the weights of the losses in the sum that is minimised."""
    return {"objectness": 1.0, "quality": 0.5, "mask": 1.0, "second": 0.5}


def losses(network: FpnLite, batch: Batch) -> dict[str, Tensor]:
    """Compute the mean losses of a batch: a process's share of them, which add up to the whole's.

    Of objectness over the windows of objects, of quality over those that mean one, of masks over
    those that teach them, and of the second look over those that count for it.
    """
    dense = network.dense(batch.images.permute(0, 3, 1, 2).float())
    proposals = propose(dense, batch)
    slots = [_slot_losses(network, batch, dense, proposals, slot) for slot in range(len(SLOTS))]
    masks, seconds, looks = (torch.stack(found).sum() for found in zip(*slots, strict=True))
    objects = torch.stack([(label == 1).sum() for label in batch.label]).sum()
    owned = torch.stack([owned.sum() for owned in batch.owned]).sum()
    taught = looks.new_tensor(len(batch.windows))
    counts = of_whole_batch(torch.stack([objects, owned, taught, looks])).clamp(min=1)
    sums = {
        "objectness": _total(
            [
                focal_sum(o.float(), t, OBJECT_WEIGHT)
                for o, t in zip(dense.objectness, batch.label, strict=True)
            ]
        ),
        "quality": _total(
            [
                quality_sum(q.float(), t, w)
                for q, t, w in zip(dense.quality, batch.quality, batch.owned, strict=True)
            ]
        ),
        "mask": masks,
        "second": seconds,
    }
    return {name: loss / count for (name, loss), count in zip(sums.items(), counts, strict=True)}


def _total(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([*parts]).sum()


class _Drawn(NamedTuple):
    """Masks of windows that teach masks, then of proposals."""

    taught: Tensor
    proposed: Tensor
    last: Tensor


def _slot_losses(
    network: FpnLite, batch: Batch, dense: Dense, proposals: Tensor, slot: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the mask losses of a slot's chosen windows, and the second look's of all its windows.

    The last is how many of these count for the second look, int64.
    """
    taught = batch.windows[batch.windows[:, 1] == slot]
    rows = torch.cat([taught[:, :5], proposals[proposals[:, 1] == slot]])
    if not len(rows):
        zero = 0 * network.second.iou.bias.float().sum()  # of what always learns
        return zero, zero, batch.windows.new_zeros(())
    head = network.heads[slot]
    assert isinstance(head, SlotHead)
    windows = Windows(rows[:, 2], rows[:, 0], rows[:, 3], rows[:, 4])
    code = head.code(network.context_cells(dense, windows, head.slot))
    fine = network.fine_cells(dense, windows, head.slot)
    drawn = _draw(network, head, code, fine, len(taught))

    share, seen = _targets(batch, taught, slot)
    mask_sum = mask_loss(drawn.taught.float(), share, seen).sum()

    masks = torch.cat([drawn.taught.detach(), drawn.proposed])
    iou = _best_ious(batch, masks, rows, slot)
    counts = batch.complete[rows[:, 0]] | (iou >= MATCH)
    scores = first_scores(dense, rows).detach().to(masks.dtype)
    predicted = network.second(code, fine, drawn.last, masks, scores, head)
    return mask_sum, iou_sum(predicted.float(), iou, counts), counts.sum()


def _draw(network: FpnLite, head: SlotHead, code: Tensor, fine: Tensor, taught: int) -> _Drawn:
    """Draw masks; those of proposals, and all that the second look reads of them, are fixed."""
    masks, last = network.draw(code[:taught], fine[:taught], head)
    with torch.no_grad():
        proposed, last_proposed = network.draw(code[taught:], fine[taught:], head)
    return _Drawn(masks, proposed, torch.cat([last.detach(), last_proposed]))


def _targets(batch: Batch, rows: Tensor, slot: int) -> tuple[Tensor, Tensor]:
    side = SLOTS[slot].mask
    share = torch.zeros(len(rows), side, side, device=rows.device)
    seen = torch.zeros_like(share, dtype=torch.bool)
    for level, maps in enumerate(batch.maps):
        k = (rows[:, 2] == level).nonzero()[:, 0]
        if len(k):
            share[k], seen[k] = mask_targets(maps[slot], rows[k, 5], slot, rows[k, 3], rows[k, 4])
    return share, seen


@torch.no_grad()
def _best_ious(batch: Batch, masks: Tensor, rows: Tensor, slot: int) -> Tensor:
    """(k,): IoU of each window's mask with the best object of its picture; 0 without objects."""
    best = torch.zeros(len(rows), device=rows.device)
    for level, stride in enumerate(STRIDES):
        for picture in range(len(batch.images)):
            k = ((rows[:, 2] == level) & (rows[:, 0] == picture)).nonzero()[:, 0]
            n = (batch.picture == picture).nonzero()[:, 0]
            if len(k) and len(n):
                maps, areas = batch.maps[level][slot][n], batch.areas[n]
                i, j = rows[k, 3], rows[k, 4]
                ious = mask_ious(masks[k], maps, areas, slot, i, j, stride)
                best[k] = ious.max(1).values
    return best


def first_scores(dense: Dense, rows: Tensor) -> Tensor:
    """Look up objectness and quality logits of windows (k, ≥ 5: picture, slot, level, i, j)."""
    scores = torch.zeros(len(rows), 2, device=rows.device)
    for level, maps in enumerate(zip(dense.objectness, dense.quality, strict=True)):
        k = (rows[:, 2] == level).nonzero()[:, 0]
        at = (rows[k, 0], rows[k, 1], rows[k, 3], rows[k, 4])
        scores[k] = torch.stack([m[at].float() for m in maps], 1)
    return scores


@torch.no_grad()
def propose(dense: Dense, batch: Batch) -> Tensor:
    """Draw proposals of the completely labelled pictures, for the second look.

    Returns (k, 5) int64: picture, slot, level, i, j. None lies in a crowd.
    """
    chances = [
        torch.sigmoid(o.float()) * torch.sigmoid(q.float())
        for o, q in zip(dense.objectness, dense.quality, strict=True)
    ]
    rows = [
        _rows_of(_drawn_places(chances, picture, int(batch.seeds[picture])), chances, picture)
        for picture in batch.complete.nonzero()[:, 0].tolist()
    ]
    table = torch.cat([*rows, batch.windows.new_zeros(0, 5)])
    return table[~_in_crowds(table, batch.crowds)]


def _drawn_places(chances: Sequence[Tensor], picture: int, seed: int) -> Tensor:
    flat = torch.cat([c[picture].flatten() for c in chances])
    ranked = flat.topk(min(RANKED, len(flat))).indices
    random = torch.Generator().manual_seed(seed)
    best = torch.randperm(min(BEST, len(ranked)), generator=random)[:BEST_DRAWN]
    any_of_them = torch.randint(len(ranked), (RANKED_DRAWN,), generator=random)
    kept: Tensor = torch.unique(ranked[torch.cat([best, any_of_them]).to(ranked.device)])
    return kept


def _rows_of(places: Tensor, maps: Sequence[Tensor], picture: int) -> Tensor:
    """Flat places in all levels' (slots, h, w) → (k, 5) rows."""
    rows, start = [], 0
    for level, m in enumerate(maps):
        slots, h, w = m.shape[1:]
        at = places[(places >= start) & (places < start + slots * h * w)] - start
        start += slots * h * w
        slot, i, j = at // (h * w), at % (h * w) // w, at % w
        same = torch.ones_like(at)
        rows.append(torch.stack([same * picture, slot, same * level, i, j], 1))
    return torch.cat(rows)


def _in_crowds(rows: Tensor, crowds: Tensor) -> Tensor:
    stride = torch.tensor(STRIDES, device=rows.device)[rows[:, 2]]
    y, x = ((rows[:, k] + 0.5) * stride for k in (3, 4))
    inside = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for picture, x0, y0, x1, y1 in crowds.tolist():
        inside |= (rows[:, 0] == picture) & (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return inside
