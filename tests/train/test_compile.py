"""`--compile`: the same training, compiled, and one line where it cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deepmask.coco.reader import read_coco
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import ScoredPatchBatches
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.patches.sampling import Sampler
from deepmask.train.device import Hardware
from deepmask.train.trainer import Trainer

COMMAND = str(Path(sys.executable).with_name("deepmask-train"))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_steps_are_those_of_eager_ones_but_for_rounding(
    drawn: tuple[Path, Path], tiny_model: DeepMaskConfig, tiny_recipe: DeepMaskRecipe
) -> None:
    counters = torch._dynamo.utils.counters
    counters.clear()
    sampler = Sampler(read_coco(*drawn), [], tiny_model, tiny_recipe)
    make = ScoredPatchBatches(sampler, Cropper(10**8), tiny_model, tiny_recipe, 0)
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
    arguments = ["--train-annotations", drawn[0], "--train-images", drawn[1], "--init", "random"]
    arguments += ["--steps", 1, "--batch", 4, "--negatives", 2, "--max-octaves", 6, "--compile"]
    result = subprocess.run(
        [COMMAND, *map(str, arguments), "--device", "cpu", "--out", str(tmp_path / "run")],
        env={**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("Error: --compile failed, leave it out or mend ")
    assert result.stderr.count("\n") == 1
