"""The losses of Fast R-CNN on a batch, by name.

Boxes are the objects', and proposals: those that were stored for the pictures, or else the base
network's own. The base does not change, so that proposals and masks stay those it was measured
with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepmask.networks.boxes.batches import PROPOSALS, BoxBatch
from deepmask.networks.boxes.losses import class_sum, offset_sum
from deepmask.networks.boxes.offsets import encode
from deepmask.networks.boxes.proposals import propose_boxes
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.boxes.sampling import Sampled, sample_boxes
from deepmask.networks.fast_rcnn import FastRcnn

#: The most boxes of a picture that learn.
BOXES = 128


def weights(recipe: FastRcnnRecipe) -> dict[str, float]:
    """Return the weights of the losses in the sum that is minimised."""
    return {"class": 1.0, "box": recipe.box_weight}


def losses(network: FastRcnn, batch: BoxBatch) -> dict[str, Tensor]:
    """Return this process's share of the losses, each a mean over pictures.

    A picture's are means over its boxes, those of background included (§2.3).
    """
    means = []
    for k in range(len(batch.images)):
        maps, sampled = _look(network, batch, k)
        logits, offsets = network.name(maps, sampled.boxes)
        means.append(box_means(logits, offsets, sampled))
    both = torch.stack(means).sum(0) / batch.whole
    return dict(zip(("class", "box"), both.unbind(), strict=True))


def box_means(logits: Tensor, offsets: Tensor, sampled: Sampled) -> Tensor:
    """Return the losses of names and offsets of a picture's boxes, (2,): means over all of them.

    logits, offsets  (n, C + 1) and (n, C, 4), see `BoxHead`.
    """
    wanted = encode(sampled.boxes, sampled.objects)
    names = class_sum(logits.float(), sampled.category)
    boxes = offset_sum(offsets.float(), sampled.category, wanted)
    return torch.stack([names, boxes]) / max(1, len(sampled.boxes))


@torch.no_grad()
def _look(network: FastRcnn, batch: BoxBatch, k: int) -> tuple[list[Tensor], Sampled]:
    """Return the maps of a picture and boxes of it that learn."""
    image = batch.images[k].permute(2, 0, 1)[None].float()
    features = network.base.features(image)
    height, width = batch.sizes[k].tolist()
    if batch.proposed is None:
        dense = network.base.read(features)
        proposed = propose_boxes(network.base, dense, (height, width), PROPOSALS)
    else:
        proposed = batch.proposed[k]
    sampled = sample_boxes(
        proposed,
        batch.boxes[k],
        batch.category[k],
        batch.crowds[k],
        complete=bool(batch.complete[k]),
        most=BOXES,
    )
    return [one.float() for one in network.maps(image, features)], sampled
