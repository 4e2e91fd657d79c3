"""Trains a small network without dropout, alone or under torchrun: team_run.py SPEC OUT.

SPEC is JSON: the model and a list of recipes as plain values, annotations and images. OUT receives,
for each recipe, the losses of each step and the weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from deepmask.coco.reader import read_coco
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import ScoredPatchBatches
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.patches.sampling import Sampler
from deepmask.train.device import Hardware
from deepmask.train.parallel import join
from deepmask.train.trainer import Trainer


def main(spec: Path, out: Path) -> None:
    """Train by each recipe in turn; the first process writes `out`."""
    given = json.loads(spec.read_text())
    labelled, partly = (
        read_coco(Path(given["annotations"]), Path(given["images"])) for _ in range(2)
    )
    config = DeepMaskConfig(**given["model"])
    hardware = Hardware(torch.device("cpu"), bf16=False)
    results = []
    with join(hardware.device) as team:
        for recipe in (DeepMaskRecipe(**values) for values in given["recipes"]):
            trainer = Trainer(without_dropout(config), recipe, 0, hardware, team)
            sampler = Sampler(labelled, [partly], config, recipe, recipe.score_partly)
            make_batch = ScoredPatchBatches(
                sampler, Cropper(10**8), config, recipe, 0, team.rank, team.size
            )
            losses = []
            for step in range(recipe.steps):
                trainer.train_step(make_batch(step))
                losses.append(list(trainer.mean_losses().values()))
            results.append({"losses": losses, "weights": trainer.weights()})
        if team.leads:
            torch.save({"size": team.size, "results": results}, out)


def without_dropout(config: DeepMaskConfig) -> DeepMaskNetwork:
    """A network whose random start is the same each time."""
    torch.manual_seed(0)
    model = DeepMaskNetwork(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


main(Path(sys.argv[1]), Path(sys.argv[2]))
