"""The losses of `fpn-masks` on a batch, by name (thesis §4.6, appendix A)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepmask.networks.fpn_masks import FpnMasks
from deepmask.networks.processes import of_whole_batch
from deepmask.networks.whole.masks_batch import MasksBatch
from deepmask.networks.whole.recipe import FpnMasksRecipe
from deepmask.networks.window_table import Windows


def masks_weights(recipe: FpnMasksRecipe) -> dict[str, float]:
    """Return the weights of the losses in the sum that is minimised."""
    return {"score": 1.0, "mask": recipe.mask_weight}


def masks_losses(network: FpnMasks, batch: MasksBatch) -> dict[str, Tensor]:
    """Compute the cross entropies, means over the whole batch: a process's share of them.

    Of the score over the locations that it learns from; of masks over the samples of all objects'
    locations that lie on the canvas.
    """
    pyramid = network.pyramid(batch.images.permute(0, 3, 1, 2).float())
    side = network.config.mask_size
    score = pyramid.cells.new_zeros(len(batch.windows), dtype=torch.float32)
    mask = pyramid.cells.new_zeros(len(batch.taught), side, side, dtype=torch.float32)
    head_of = batch.windows[:, 1]
    for index in range(len(network.heads)):
        head, mine = network.head(index), (head_of == index).nonzero()[:, 0]
        picture, _, level, i, j = batch.windows[mine].unbind(1)
        codes = network.codes(pyramid, Windows(level, picture, i, j), head)
        score[mine] = head.score(codes).flatten().float()
        taught = (head_of[batch.taught] == index).nonzero()[:, 0]
        places = torch.searchsorted(mine, batch.taught[taught])
        mask[taught] = head.masks(codes[places]).float()
    counts = torch.stack([batch.scored.sum(), batch.seen.sum()])
    scored, seen = of_whole_batch(counts).clamp(min=1).unbind()
    entropy = F.binary_cross_entropy_with_logits
    return {
        "score": (entropy(score, batch.label, reduction="none") * batch.scored).sum() / scored,
        "mask": (entropy(mask, batch.share.float() / 255, reduction="none") * batch.seen).sum()
        / seen,
    }
