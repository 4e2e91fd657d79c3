"""`--compile`: the same training, compiled, and one line where it cannot be had."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.train.device import Hardware
from deepmask.train.trainer import Trainer
from tests.train.small import SMALL, Maker, data, deepmask_train


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_steps_are_those_of_eager_ones_but_for_rounding(
    maker: Maker, tiny_model: DeepMaskConfig, tiny_recipe: DeepMaskRecipe
) -> None:
    counters = torch._dynamo.utils.counters
    counters.clear()
    make = maker()
    losses, states = [], []
    for compiled in (False, True):
        torch.manual_seed(0)
        hardware = Hardware(torch.device("cpu"), bf16=False, compiled=compiled)
        trainer = Trainer(DeepMaskNetwork(tiny_model), tiny_recipe, 0, hardware)
        for step in range(3):
            trainer.train_step(make(step))
        losses.append(list(trainer.mean_losses().values()))
        states.append(trainer.checkpoint().training["state"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert states[1].keys() == states[0].keys()
    assert counters["stats"]["unique_graphs"] == 1  # once, whole


def test_without_a_compiler_it_says_so_in_one_line(
    drawn: tuple[Path, Path], tmp_path: Path
) -> None:
    result = deepmask_train(
        *(*data(drawn), *SMALL, "--compile", "--device", "cpu", "--init", "random"),
        *("--out", tmp_path / "run"),
        env={**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("Error: --compile failed, leave it out or mend ")
    assert result.stderr.count("\n") == 1
