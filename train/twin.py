"""DeepMask20*: the masks of one network, ranked by the scores of another (§4).

Both networks become one of the same kind, so that export, runtime and evaluation need not know: its
trunk is the two trunks side by side, its heads are those of the two with zeros where the other's
channels come in. Features, and with a shared score head the code, are twice as wide.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from deepmask.train.checkpoint import Checkpoint, CheckpointError
from deepmask.train.config import TWIN, ModelConfig

Weights = dict[str, Tensor]


def with_scores_of(masks: Checkpoint, scores: Checkpoint) -> Checkpoint:
    """One network that masks as `masks` does and scores as `scores` does; not to be resumed.

    Raises `CheckpointError` when the two are not of the same configuration.
    """
    if masks.model != scores.model or masks.model.trunk.endswith(TWIN):
        raise CheckpointError(
            "the two checkpoints differ in their network: masks and scores must come from the "
            "same preset"
        )
    config = masks.model
    weights = {
        **_beside("trunk.first.", masks.weights, "trunk."),
        **_beside("trunk.second.", scores.weights, "trunk."),
    }
    if config.score_head == "shared":
        weights |= _shared_heads(config, masks.weights, scores.weights)
        config = replace(config, channels=2 * config.channels, rank=2 * config.rank)
    else:
        weights |= _pooled_heads(config, masks.weights, scores.weights)
    return Checkpoint(replace(config, trunk=config.trunk + TWIN), weights, {})


def _beside(name: str, weights: Weights, prefix: str) -> Weights:
    return {name + k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _pooled_heads(config: ModelConfig, masks: Weights, scores: Weights) -> Weights:
    """Each head reads its own half of the features."""
    heads = {
        name: value
        for source, prefix in ((masks, "mask_head."), (scores, "score_head."))
        for name, value in source.items()
        if name.startswith(prefix)
    }
    reduce, encode = heads["mask_head.reduce.weight"], heads["score_head.encode.weight"]
    heads["mask_head.reduce.weight"] = _widened(reduce, first=True)
    # Flattened (channels, cells/2, cells/2): the second network's channels are the second half.
    heads["score_head.encode.weight"] = _widened(encode, first=False)
    return heads


def _shared_heads(config: ModelConfig, masks: Weights, scores: Weights) -> Weights:
    """Two codes side by side; the mask is read from the first, the score from the second."""
    heads: Weights = {}
    for layer in ("reduce", "encode"):
        weight, bias = f"mask_head.{layer}.weight", f"mask_head.{layer}.bias"
        halves = [_widened(masks[weight], first=True), _widened(scores[weight], first=False)]
        heads[weight] = torch.cat(halves)
        heads[bias] = torch.cat([masks[bias], scores[bias]])
    for source, layer, first in (
        (masks, "mask_head.classify", True),
        (scores, "score_head.widen", False),
    ):
        heads[f"{layer}.weight"] = _widened(source[f"{layer}.weight"], first)
        heads[f"{layer}.bias"] = source[f"{layer}.bias"]
    for name in ("score_head.classify.weight", "score_head.classify.bias"):
        heads[name] = scores[name]
    return heads


def _widened(weight: Tensor, first: bool) -> Tensor:
    """(out, in, …) → (out, 2·in, …): zeros for the other network's half of the inputs."""
    halves = [weight, torch.zeros_like(weight)]
    return torch.cat(halves if first else halves[::-1], dim=1)
