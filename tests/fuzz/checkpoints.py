"""Hostile checkpoints: archives, pickles and what they hold."""

from __future__ import annotations

import io
import pickle
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.trunks import TRUNKS, InitialiseError, Trunk
from deepmask.train.checkpoint import FORMAT, Checkpoint, CheckpointError, load_checkpoint
from deepmask.train.device import choose_hardware
from deepmask.train.initialise import read_weights
from deepmask.train.optimise import set_learning_rate
from deepmask.train.provenance import changes
from deepmask.train.safe_load import TensorFileError, read_tensors
from deepmask.train.trainer import Trainer
from tests.fuzz.mutations import VALUES, Target, damaged

SMALL = DeepMaskConfig(64, 0, "resnet18", 8, "low-rank", 16, 14, "shared", 16)


@cache
def content(whole: bool = False) -> dict[str, Any]:
    """A checkpoint; mostly without the large weights, as copying them would be all the work."""
    weights = DeepMaskNetwork(SMALL).state_dict()
    some = {name: value for name, value in weights.items() if whole or value.numel() < 3000}
    return {
        "format": FORMAT,
        "family": "deepmask",
        "model": SMALL.to_dict(),
        "weights": some,
        "training": {"step": 1},
    }


@cache
def hostile() -> tuple[Any, ...]:
    """Values that only a pickle can hold."""
    laughs: Any = ["ha"]
    for _ in range(40):
        laughs = [laughs] * 2
    return (
        *(laughs, bytearray(9), {1: 2, "a": 3}, (1,), torch.Size([2, 3]), torch.device("cpu")),
        *(torch.zeros(1).expand(2**40), torch.zeros(2, 0), torch.tensor(float("nan"))),
        *(torch.zeros(64, dtype=torch.int64), torch.zeros(64, dtype=torch.complex64)),
        torch.zeros(4, 4).to_sparse(),
    )


def make(chance: Random) -> bytes:
    """Contents exchanged; or bytes of the file, or of a file within the archive, damaged."""
    values = (*VALUES, *hostile())
    how = chance.randrange(5)
    tree = content(whole=chance.random() < 0.02)
    if how < 3:
        part = chance.choice(("model", "model", "weights", "training", ""))
        if part:
            tree = {**tree, part: _exchanged(tree[part], chance, values)}
        else:
            tree = _exchanged(tree, chance, values)
    if how == 1:
        return pickle.dumps(tree.get("model"))
    file = io.BytesIO()
    torch.save(tree, file, _use_new_zipfile_serialization=how != 2)
    whole = file.getvalue()
    if how == 3:
        return damaged(whole, chance)
    return _repacked(whole, chance) if how == 4 else whole


def _exchanged(values: Any, chance: Random, choices: tuple[Any, ...]) -> Any:
    """One value of a dictionary exchanged, without copies of what is large."""
    changed = dict(values)
    changed[chance.choice([*changed, "more"])] = chance.choice(choices)
    if chance.random() < 0.2:
        del changed[chance.choice(list(changed))]
    return changed


def _repacked(whole: bytes, chance: Random) -> bytes:
    """The archive with one of its files damaged, and sometimes compressed."""
    source, target = zipfile.ZipFile(io.BytesIO(whole)), io.BytesIO()
    chosen = chance.choice([*source.namelist(), "archive/data.pkl"])
    with zipfile.ZipFile(
        target, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as z:
        for name in source.namelist():
            data = source.read(name)
            z.writestr(name, damaged(data, chance) if name == chosen else data)
    return target.getvalue()


def read(path: Path) -> None:
    """The network of the file."""
    load_checkpoint(path).build()


RECIPE = DeepMaskRecipe(steps=4, average=0.9)


def trainer() -> Trainer:
    """One that has not begun."""
    return Trainer(DeepMaskNetwork(SMALL), RECIPE, 0, choose_hardware("cpu", "fp32"))


@cache
def halfway() -> dict[str, Any]:
    """What a checkpoint of one that has made a step holds for resuming."""
    one = trainer()
    for parameter in one.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    one.optimiser.step()
    one.step = 1
    return one.checkpoint().training


def make_training(chance: Random) -> bytes:
    """The part for resuming, with a value exchanged at some depth."""
    training: dict[str, Any] = dict(halfway())
    values = (*VALUES, *hostile())
    part = chance.choice(("", "recipe", "optimiser", "state", "conditions"))
    if part == "optimiser" and chance.random() < 0.8:
        optimiser = dict(training["optimiser"])
        number = chance.choice(list(optimiser["state"]))
        changed = _exchanged(optimiser["state"][number], chance, values)
        optimiser["state"] = {**optimiser["state"], number: changed}
        training["optimiser"] = optimiser
    elif part:
        training[part] = _exchanged(training[part], chance, values)
    else:
        training = _exchanged(training, chance, values)
    file = io.BytesIO()
    torch.save(training, file)
    return file.getvalue()


def read_training(path: Path) -> None:
    """Go on with a run, one step of the optimiser."""
    one = trainer()
    training = read_tensors(path)
    one.resume(Checkpoint(SMALL, one.model.state_dict(), training))
    changes(training.get("conditions"), {"precision": "fp32"})
    set_learning_rate(one.optimiser, 0.1)
    for parameter in one.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    one.optimiser.step()


def make_weights(chance: Random) -> bytes:
    """As `make`, of a plain state dict."""
    file = io.BytesIO()
    state = {name: value for name, value in content()["weights"].items() if "trunk" in name}
    torch.save(_exchanged(state, chance, (*VALUES, *hostile())), file)
    whole = file.getvalue()
    how = chance.randrange(3)
    return whole if how == 0 else (damaged if how == 1 else _repacked)(whole, chance)


@cache
def trunk() -> Trunk:
    """One for all files: most change nothing in it."""
    return TRUNKS["resnet18"]("zero")


def read_trunk(path: Path) -> None:
    """The trunk with the file's weights."""
    trunk().start_from(read_weights(str(path), ""))


TARGETS = (
    Target("checkpoints", make, read, (CheckpointError,)),
    Target("resumed training", make_training, read_training, (CheckpointError, TensorFileError)),
    Target("trunk weights", make_weights, read_trunk, (InitialiseError,)),
)
