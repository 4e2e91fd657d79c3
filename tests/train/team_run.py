"""Trains small networks without dropout, alone or under torchrun: team_run.py SPEC OUT.

SPEC is JSON: annotations, images, and a list of runs: family, model and recipe as plain values. OUT
receives, for each run, the losses of each step and the weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from deepmask.coco.reader import read_coco
from deepmask.networks.config import NetworkConfig
from deepmask.networks.families import FAMILIES, build
from deepmask.networks.family import TrainingData
from deepmask.networks.network import Network
from deepmask.networks.whole import batches
from deepmask.train.device import Hardware
from deepmask.train.parallel import join
from deepmask.train.trainer import Trainer


def main(spec: Path, out: Path) -> None:
    """Take each run in turn; the first process writes `out`."""
    given = json.loads(spec.read_text())
    labelled, partly = (
        read_coco(Path(given["annotations"]), Path(given["images"])) for _ in range(2)
    )
    hardware = Hardware(torch.device("cpu"), bf16=False)
    batches.CROP = 128
    results = []
    with join(hardware.device) as team:
        for run in given["runs"]:
            family = FAMILIES[run["family"]]
            model = {k: tuple(v) if isinstance(v, list) else v for k, v in run["model"].items()}
            config, recipe = family.config.from_dict(model), family.recipe(**run["recipe"])
            trainer = Trainer(without_dropout(config), recipe, 0, hardware, team)
            data = TrainingData(labelled, [partly], rank=team.rank, size=team.size)
            make_batch = family.batches(data, config, recipe)
            losses = []
            for step in range(recipe.steps):
                trainer.train_step(make_batch(step))
                losses.append(list(trainer.mean_losses().values()))
            results.append({"losses": losses, "weights": trainer.weights()})
        if team.leads:
            torch.save({"size": team.size, "results": results}, out)


def without_dropout(config: NetworkConfig) -> Network:
    """A network whose random start is the same each time."""
    torch.manual_seed(0)
    model = build(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


main(Path(sys.argv[1]), Path(sys.argv[2]))
