"""DeepMask20*: the masks of one network, ranked by the scores of another (§4).

Both networks become one of the same kind, so that export, runtime and evaluation need not know: its
trunk is the two trunks side by side, its heads are those of the two with zeros where the other's
channels come in. Features, and what the heads share, are twice as wide; a refinement is the first
network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from deepmask.networks.config import TWIN
from deepmask.train.checkpoint import Checkpoint, CheckpointError

Weights = dict[str, Tensor]


def with_scores_of(masks: Checkpoint, scores: Checkpoint) -> Checkpoint:
    """One network that masks as `masks` does and scores as `scores` does; not to be resumed.

    Raises `CheckpointError` when the two are not of the same configuration, but for a refinement,
    which has no bearing on scores.
    """
    if masks.model.coarse() != scores.model.coarse() or masks.model.trunk.endswith(TWIN):
        raise CheckpointError(
            "the two checkpoints differ in their network: masks and scores must come from the "
            "same preset"
        )
    config = masks.model
    weights = {
        **_beside("trunk.first.", masks.weights, "trunk."),
        **_beside("trunk.second.", scores.weights, "trunk."),
    }
    both, reduce, encode = (masks.weights, scores.weights), "mask_head.reduce", "mask_head.encode"
    if config.score_head == "shared":
        weights |= _joined((reduce, encode), ("mask_head.classify", "score_head.widen"), both)
        wider = replace(config, channels=2 * config.channels, rank=2 * config.rank)
    elif config.score_head == "reduced":
        reader = encode if config.mask_head == "low-rank" else "mask_head.classify"
        weights |= _joined((reduce,), (reader, "score_head.encode"), both)
        wider = replace(config, channels=2 * config.channels)
    else:
        layer = "encode" if config.score_head == "pooled" else "reduce"
        weights |= _apart(f"score_head.{layer}", *both)
        wider = config
    weights |= _refinement(masks.weights, wider.rank > config.rank)
    return Checkpoint(replace(wider, trunk=config.trunk + TWIN), weights, {})


def _beside(name: str, weights: Weights, prefix: str) -> Weights:
    return {name + k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _heads(masks: Weights, scores: Weights) -> Weights:
    """The one's mask head and the other's score head, as they are."""
    return {
        name: value
        for source, prefix in ((masks, "mask_head."), (scores, "score_head."))
        for name, value in source.items()
        if name.startswith(prefix)
    }


def _apart(score_layer: str, masks: Weights, scores: Weights) -> Weights:
    """Heads that share nothing: each reads its own half of the features."""
    heads = _heads(masks, scores)
    for layer, first in (("mask_head.reduce", True), (score_layer, False)):
        # Also of a flattened window (channels, cells, cells), the second half are the second
        # network's channels.
        heads[f"{layer}.weight"] = _widened(heads[f"{layer}.weight"], first)
    return heads


def _joined(shared: Sequence[str], readers: Sequence[str], both: Sequence[Weights]) -> Weights:
    """Heads that share layers: two of these side by side, of which each head reads its own half.

    readers: the first layer after them, of the mask head and of the score head.
    """
    masks, scores = both
    heads = _heads(masks, scores)
    for layer in shared:
        weight, bias = f"{layer}.weight", f"{layer}.bias"
        halves = [_widened(masks[weight], first=True), _widened(scores[weight], first=False)]
        heads[weight] = torch.cat(halves)
        heads[bias] = torch.cat([masks[bias], scores[bias]])
    for layer, first in zip(readers, (True, False), strict=True):
        heads[f"{layer}.weight"] = _widened(heads[f"{layer}.weight"], first)
    return heads


def _refinement(masks: Weights, code_is_wider: bool) -> Weights:
    """The one's refinement, which reads its half of the code and of every map of the trunk."""
    weights = {name: value for name, value in masks.items() if name.startswith("refine.")}
    for name in weights:
        if name.endswith(".reduce.weight") or (name == "refine.encode.weight" and code_is_wider):
            weights[name] = _widened(weights[name], first=True)
    return weights


def _widened(weight: Tensor, first: bool) -> Tensor:
    """(out, in, …) → (out, 2·in, …): zeros for the other network's half of the inputs."""
    halves = [weight, torch.zeros_like(weight)]
    return torch.cat(halves if first else halves[::-1], dim=1)
