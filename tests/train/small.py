"""What tests of training share beside their fixtures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from deepmask.networks.family import TensorBatch
from deepmask.networks.patches.batches import ScoredPatchBatches
from deepmask.train.device import Hardware
from deepmask.train.trainer import Trainer

CPU = Hardware(torch.device("cpu"), bf16=False)
#: The fixtures `maker` and `fresh`: from a recipe, or from none for `tiny_recipe`.
Maker = Callable[..., ScoredPatchBatches]
Fresh = Callable[..., Trainer]

COMMAND = str(Path(sys.executable).with_name("deepmask-train"))
#: A run of seconds: few steps, few patches.
SMALL = ["--preset", "deepmask-r18"]
SMALL += ["--steps", "3", "--batch", "4", "--negatives", "2", "--max-octaves", "6"]
SMALL += ["--val-patches", "2"]


def deepmask_train(
    *arguments: object, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def data(drawn: tuple[Path, Path]) -> list[object]:
    return ["--train-annotations", drawn[0], "--train-images", drawn[1]]


def losses_of(trainer: Trainer, batch: TensorBatch) -> tuple[float, ...]:
    trainer.train_step(batch)
    return tuple(trainer.mean_losses().values())


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
