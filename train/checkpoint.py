"""Read, write and join checkpoints: one `.pt` rebuilds the network and resumes its training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepmask.networks.config import ConfigError, NetworkConfig
from deepmask.networks.families import FAMILIES, build, family_name, family_of
from deepmask.networks.network import Network
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.atomic import atomic_write
from deepmask.train.safe_load import TensorFileError, read_tensors

FORMAT = "deepmask-checkpoint/2"


class CheckpointError(OneLineError):
    """A file that is not a usable checkpoint; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    model     the network's configuration, whose type tells its family.
    weights   state dict of the weights to use: the running average where training kept one.
    training  what resuming needs (raw weights, optimiser, step, random state, recipe, library
              versions); empty in a checkpoint that was stripped for publishing.
    """

    model: NetworkConfig
    weights: dict[str, Tensor]
    training: dict[str, Any]

    @property
    def family(self) -> str:
        """Name of the network's family."""
        return family_name(self.model)

    def build(self) -> Network:
        """Return the network with these weights, in evaluation mode, on the CPU."""
        self.require_fit()
        network = build(self.model)
        network.load_state_dict(self.weights)
        return network.eval()

    def require_fit(self) -> None:
        """Raise `CheckpointError` unless the weights are those of the configuration.

        Compared with a network that takes no memory: whatever sizes a file asks for, none is
        allocated that the file does not hold.
        """
        try:
            with torch.device("meta"):
                wanted = build(self.model).state_dict()
        except (RuntimeError, OverflowError, TypeError) as error:
            raise CheckpointError("the checkpoint's network cannot be built") from error
        for name in sorted(wanted.keys() | self.weights.keys()):
            if name not in wanted or name not in self.weights:
                problem = f"{name!r:.80} is {'missing' if name in wanted else 'unknown'}"
            elif problem := _misfit(self.weights[name], wanted[name]):
                problem = f"{name} {problem}"
            if problem:
                raise CheckpointError(
                    f"the checkpoint's weights do not fit its configuration: {problem}"
                )


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`: whole under a temporary name, then renamed.

    Raises `OSError` where that fails; what was at `path` is still there.
    """
    content = {
        "format": FORMAT,
        "family": checkpoint.family,
        "model": checkpoint.model.to_dict(),
        "weights": checkpoint.weights,
        "training": checkpoint.training,
    }
    try:
        with atomic_write(path) as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # PyTorch's archive, closed after the disk's own error
        if isinstance(error.__context__, OSError):
            reason = error.__context__.strerror
            raise OSError(f"{path}: cannot be written ({reason})") from error
        raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, whatever device wrote it; never runs code from the file.

    Raises `CheckpointError` for a file that is missing, truncated, foreign or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        content = read_tensors(path)
    except (TensorFileError, OSError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of deepmask-train: {error}") from error
    found = content.get("format") if isinstance(content, dict) else content
    if not isinstance(found, str) or found != FORMAT:
        shown = repr(found) if isinstance(found, str | None) else repr(type(found).__name__)
        raise CheckpointError(
            f"{path}: format is {shown:.60}, expected {FORMAT!r}: train it again by deepmask-train"
        )
    family = FAMILIES.get(content["family"]) if isinstance(content.get("family"), str) else None
    if family is None:
        raise CheckpointError(
            f"{path}: family is {content.get('family')!r:.60}, known are {', '.join(FAMILIES)}: "
            "use the version of this program that wrote it"
        )
    parts = {name: content.get(name) for name in ("model", "weights", "training")}
    for name, part in parts.items():
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            raise CheckpointError(
                f"{path}: its {name} is missing or no table of names and values: "
                "the file is damaged, use another checkpoint"
            )
    try:
        config = family.config.from_dict(parts["model"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(config, parts["weights"], parts["training"])


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


def _misfit(weight: object, wanted: Tensor) -> str:
    if not isinstance(weight, Tensor) or weight.layout != torch.strided or weight.is_meta:
        return f"is no tensor but a {type(weight).__name__}"
    shape, kind = weight.shape, weight.dtype.is_floating_point
    if shape != wanted.shape or kind != wanted.dtype.is_floating_point:
        return f"is {weight.dtype} {list(shape)[:8]}, not {wanted.dtype} {list(wanted.shape)}"
    if weight.untyped_storage().nbytes() < weight.numel() * weight.element_size():
        return "has fewer values than its shape says"
    return ""
