"""Join two networks: the masks of one, ranked by the scores of the other (DeepMask20*, §4).

Both networks become one of the same kind: its trunk is the two trunks side by side, its heads are
those of the two with zeros where the other's channels come in. A refinement is the first network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from deepmask.networks.config import TWIN, ConfigError, NetworkConfig
from deepmask.networks.heads import READINGS, make_mask_head, make_score_head
from deepmask.networks.patches.config import DeepMaskConfig

Weights = dict[str, Tensor]
Patches = TypeVar("Patches", bound=DeepMaskConfig)
#: The setting that says how wide a layer of the mask head is.
_WIDTHS = {"reduce": "channels", "encode": "rank"}


def with_scores_of(
    config: Patches, masks: Weights, other: NetworkConfig, scores: Weights
) -> tuple[Patches, Weights]:
    """Return one network that masks as the first does and scores as the second does.

    Raises `ConfigError` when the two are not of the same configuration, but for a refinement, which
    has no bearing on scores.
    """
    same = isinstance(other, DeepMaskConfig) and config.coarse() == other.coarse()
    if not same or config.trunk.endswith(TWIN):
        raise ConfigError(
            "the two checkpoints differ in their network: masks and scores must come from the "
            "same preset"
        )
    with torch.device("meta"):
        mask_head, score_head = make_mask_head(config), make_score_head(config)
    depth = READINGS.index(score_head.reads)
    shared, reader = mask_head.layers[:depth], mask_head.layers[depth]
    wider = replace(
        config,
        trunk=config.trunk + TWIN,
        **{_WIDTHS[layer]: 2 * getattr(config, _WIDTHS[layer]) for layer in shared},
    )
    weights = {
        **_renamed(masks, "trunk.", "trunk.first."),
        **_renamed(scores, "trunk.", "trunk.second."),
        **_heads(masks, scores, shared, (reader, score_head.first)),
        **_refinement(masks, wider.rank > config.rank),
    }
    return wider, weights


def _renamed(weights: Weights, prefix: str, new: str) -> Weights:
    return {new + k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _heads(
    masks: Weights, scores: Weights, shared: Sequence[str], readers: tuple[str, str]
) -> Weights:
    # The one's mask head and the other's score head, each reading its own half of what comes in.
    # shared: layers of the mask head that the score head reads: both networks', side by side.
    # readers: the first layer of the mask head and of the score head that is not shared.
    heads = {
        **_renamed(masks, "mask_head.", "mask_head."),
        **_renamed(scores, "score_head.", "score_head."),
    }
    for layer in shared:
        weight, bias = f"mask_head.{layer}.weight", f"mask_head.{layer}.bias"
        halves = [_widened(masks[weight], first=True), _widened(scores[weight], first=False)]
        heads[weight] = torch.cat(halves)
        heads[bias] = torch.cat([masks[bias], scores[bias]])
    # Also of a flattened window (channels, cells, cells), the second half are the second network's
    # channels.
    for name, first in ((f"mask_head.{readers[0]}", True), (f"score_head.{readers[1]}", False)):
        heads[f"{name}.weight"] = _widened(heads[f"{name}.weight"], first)
    return heads


def _refinement(masks: Weights, code_is_wider: bool) -> Weights:
    weights = {name: value for name, value in masks.items() if name.startswith("refine.")}
    for name in weights:
        if name.endswith(".reduce.weight") or (name == "refine.encode.weight" and code_is_wider):
            weights[name] = _widened(weights[name], first=True)
    return weights


def _widened(weight: Tensor, first: bool) -> Tensor:
    # (out, in, …) → (out, 2·in, …): zeros for the other network's half of the inputs.
    halves = [weight, torch.zeros_like(weight)]
    return torch.cat(halves if first else halves[::-1], dim=1)
