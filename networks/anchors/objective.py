"""The losses of `rpn`, `retinanet` and `faster-rcnn` on a batch, by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepmask.networks.anchors.assign import RETINANET, RPN, Rule, Truth, targets
from deepmask.networks.anchors.batches import AnchorBatch
from deepmask.networks.anchors.boxes import flat, places_of
from deepmask.networks.anchors.levels import AnchorLevel
from deepmask.networks.anchors.losses import CLASS_LOSSES, box_sum
from deepmask.networks.anchors.recipe import AnchorRecipe
from deepmask.networks.anchors.tower import Anchored
from deepmask.networks.boxes.offsets import encode
from deepmask.networks.processes import of_whole_batch
from deepmask.networks.retinanet import RetinaNet
from deepmask.networks.rpn import Rpn


def weights(recipe: AnchorRecipe) -> dict[str, float]:
    """Return the weights of the losses in the sum that is minimised."""
    return {"class": 1.0, "box": recipe.box_weight}


def retinanet_losses(network: RetinaNet, batch: AnchorBatch) -> dict[str, Tensor]:
    """Return this process's share of the losses; see `anchor_losses`."""
    found = network.dense(batch.images.permute(0, 3, 1, 2).float())
    truths = [batch.truth(k) for k in range(len(batch.images))]
    return anchor_losses(found, network.config.levels(), truths, batch, RETINANET)


def rpn_losses(network: Rpn, batch: AnchorBatch) -> dict[str, Tensor]:
    """Return this process's share of the losses; see `anchor_losses`."""
    found = network.dense(batch.images.permute(0, 3, 1, 2).float())
    truths = [batch.truth(k).of_any_category() for k in range(len(batch.images))]
    return anchor_losses(found, network.config.levels(), truths, batch, RPN)


def anchor_losses(
    found: Anchored,
    levels: Sequence[AnchorLevel],
    truths: Sequence[Truth],
    batch: AnchorBatch,
    rule: Rule,
) -> dict[str, Tensor]:
    """Return a share of the losses of categories and boxes, which add up to the whole batch's.

    Categories': the batch's `class_loss`, see `losses`. Boxes': smooth L1 of the offsets of all
    anchors that are an object's, for each of these. Anchors whose location is not on the picture,
    but on the canvas beyond, learn nothing: they are not looked at later either.
    """
    places = places_of(levels, found.logits)
    categories = len(truths[0].labelled)
    logits, offsets = flat(found.logits, categories).float(), flat(found.offsets, 4).float()
    class_loss = CLASS_LOSSES[batch.class_loss]
    sums, counts = [], []
    for k, truth in enumerate(truths):
        here = places.inside(*batch.sizes[k].tolist())
        anchors = places.boxes[here]
        labels, owner = targets(anchors, truth, rule)
        total, count = class_loss(logits[k, here], labels, anchors)
        mine = (owner >= 0).nonzero()[:, 0]
        wanted = encode(anchors[mine], truth.boxes[owner[mine]])
        sums.append(torch.stack([total, box_sum(offsets[k, here[mine]], wanted)]))
        counts.append(torch.stack([count, (owner >= 0).sum()]))
    shares = torch.stack(sums).sum(0) / of_whole_batch(torch.stack(counts).sum(0)).clamp(min=1)
    return dict(zip(("class", "box"), shares.unbind(), strict=True))
