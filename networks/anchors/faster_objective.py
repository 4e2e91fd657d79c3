"""The losses of `faster-rcnn` on a batch, by name: those of its proposals and of their names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepmask.networks.anchors.assign import RPN
from deepmask.networks.anchors.batches import FasterBatch
from deepmask.networks.anchors.decode import best_boxes
from deepmask.networks.anchors.objective import anchor_losses
from deepmask.networks.anchors.recipe import FasterRcnnRecipe
from deepmask.networks.anchors.tower import Anchored
from deepmask.networks.boxes.objective import box_means
from deepmask.networks.boxes.sampling import Sampled, sample_boxes
from deepmask.networks.faster_rcnn import FasterRcnn

#: IoU above which a better proposal stands for another.
NMS = 0.7


def faster_weights(recipe: FasterRcnnRecipe) -> dict[str, float]:
    """Return the weights of the losses in the sum that is minimised."""
    return {
        "object": 1.0,
        "anchor": recipe.box_weight,
        "class": recipe.head_weight,
        "box": recipe.head_weight * recipe.box_weight,
    }


def faster_losses(network: FasterRcnn, batch: FasterBatch) -> dict[str, Tensor]:
    """Return this process's share of the losses.

    Of proposals as `rpn_losses`; of names and their boxes means over crops, as `box_means`.
    """
    levels = network.levels(batch.images.permute(0, 3, 1, 2).float())
    found = network.read(levels)
    truths = [batch.truth(k).of_any_category() for k in range(len(batch.images))]
    proposing = anchor_losses(found, network.config.levels(), truths, batch, RPN)
    means = []
    for k in range(len(batch.images)):
        sampled = _sampled(network, batch, k, found)
        logits, offsets = network.name(
            [level[k : k + 1].float() for level in levels], sampled.boxes
        )
        means.append(box_means(logits, offsets, sampled))
    names, boxes = (torch.stack(means).sum(0) / batch.whole).unbind()
    return {
        "object": proposing["class"],
        "anchor": proposing["box"],
        "class": names,
        "box": boxes,
    }


@torch.no_grad()
def _sampled(network: FasterRcnn, batch: FasterBatch, k: int, found: Anchored) -> Sampled:
    """Return the boxes of a crop that are named; objects cut too short are like crowds."""
    height, width = batch.sizes[k].tolist()
    proposed = best_boxes(
        Anchored(*(_of_picture(maps, k) for maps in found)),
        network.config.levels(),
        (height, width),
        of_level=batch.proposals,
        count=batch.proposals,
        iou=NMS,
    )
    truth = batch.truth(k)
    return sample_boxes(
        proposed.boxes,
        truth.boxes[truth.usable],
        truth.category[truth.usable],
        torch.cat([truth.crowds, truth.boxes[~truth.usable]]),
        complete=bool(truth.labelled.all()),
        most=batch.drawn,
    )


def _of_picture(maps: Sequence[Tensor], k: int) -> list[Tensor]:
    return [one[k : k + 1] for one in maps]
