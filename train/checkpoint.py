"""Checkpoints: one `.pt` that rebuilds the model and resumes its training."""

from __future__ import annotations

import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepmask.train.config import ConfigError, ModelConfig
from deepmask.train.model import DeepMask

FORMAT = "deepmask-checkpoint/1"


class CheckpointError(Exception):
    """A file that is not a usable checkpoint; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    model     the network's configuration.
    weights   state dict of the weights to use: the running average where training kept one.
    training  what resuming needs (raw weights, optimiser, step, random state, recipe, library
              versions); empty in a checkpoint that was stripped for publishing.
    """

    model: ModelConfig
    weights: dict[str, Tensor]
    training: dict[str, Any]

    def build(self) -> DeepMask:
        """The network with these weights, in evaluation mode, on the CPU."""
        model = DeepMask(self.model)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint's weights do not fit its configuration: {error}"
            ) from error
        return model.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`: whole under a temporary name, then renamed."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(
                {
                    "format": FORMAT,
                    "model": checkpoint.model.to_dict(),
                    "weights": checkpoint.weights,
                    "training": checkpoint.training,
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, whatever device wrote it; never runs code from the file.

    Raises `CheckpointError` for a file that is missing, truncated, foreign or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
    ) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of deepmask-train, or truncated ({_first_line(error)})"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path}: format is {found!r}, expected {FORMAT!r} from deepmask-train"
        )
    try:
        model = ModelConfig.from_dict(content["model"])
        return Checkpoint(model, dict(content["weights"]), dict(content["training"]))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:120] or type(error).__name__
