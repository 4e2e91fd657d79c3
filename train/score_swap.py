"""The masks of one trained network with the scores of another, as one checkpoint."""

from __future__ import annotations

from deepmask.networks.config import ConfigError
from deepmask.networks.families import family_of
from deepmask.train.checkpoint import Checkpoint, CheckpointError


def with_scores_of(masks: Checkpoint, scores: Checkpoint) -> Checkpoint:
    """Return one network that masks as `masks` does and scores as `scores` does; not to be resumed.

    Raises `CheckpointError` for a family whose networks cannot be joined, and for two networks that
    do not go together.
    """
    join = family_of(masks.model).with_scores_of
    if join is None:
        raise CheckpointError(
            f"networks of the family {masks.family} cannot have the scores of another network"
        )
    try:
        config, weights = join(masks.model, masks.weights, scores.model, scores.weights)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    return Checkpoint(config, weights, {})
