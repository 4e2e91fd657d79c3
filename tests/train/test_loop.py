"""The loop: an interrupted run equals a whole one; checkpoints and log are written when due."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmask.networks.patches.batches import PatchBatch
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.loop import BEST, LAST, LOG, Schedule, run_loop
from deepmask.train.recall import DECIDING, RECALLS
from tests.train.small import Fresh, Maker


def test_the_best_checkpoint_is_that_of_the_highest_recall(
    tmp_path: Path,
    maker: Maker,
    fresh: Fresh,
    tiny_recipe: DeepMaskRecipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps 1 … 6 measure these; the run stops after 4 and goes on from its log."""
    figures = iter([0.1, 0.3, math.nan, 0.2, 0.25, 0.4])
    monkeypatch.setattr(
        "deepmask.train.loop.measure_recall",
        lambda *_: {**dict.fromkeys(RECALLS, 0.0), DECIDING[0]: next(figures)},
    )
    kept = []
    for steps in (4, 5, 6):
        trainer = fresh(replace(tiny_recipe, steps=steps))
        if steps > 4:
            trainer.resume(load_checkpoint(tmp_path / LAST))
        schedule = Schedule(log_every=10, recall_every=1)
        images: list[Any] = ["any"]
        run_loop(trainer, maker(), [], tmp_path, 1, schedule, images=images)
        kept.append(load_checkpoint(tmp_path / BEST).training["step"])
    assert kept == [2, 2, 6]
    with (tmp_path / LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [row[DECIDING[0]] for row in rows] == ["0.1", "0.3", "", "0.2", "0.25", "0.4"]


def test_losses_fetched_late_still_stop_training_before_anything_is_saved(
    tmp_path: Path, maker: Maker, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose losses are not waited for."""
    monkeypatch.setattr("deepmask.train.trainer.LATE", ("cpu",))
    trainer = fresh()
    step = trainer.train_step

    def spoil_the_third(batch: PatchBatch) -> None:
        if trainer.step == 2:
            with torch.no_grad():
                trainer.model.mask_head.classify.bias.fill_(math.nan)
        step(batch)

    monkeypatch.setattr(trainer, "train_step", spoil_the_third)
    schedule = Schedule(log_every=100, save_seconds=1e9)
    (tmp_path / LAST).write_text("of before")
    with pytest.raises(FloatingPointError, match="the loss is nan at step 2: lower --lr"):
        run_loop(trainer, maker(), [], tmp_path, 1, schedule)
    assert trainer.step == trainer.recipe.steps
    assert (tmp_path / LAST).read_text() == "of before"
    with pytest.raises(FloatingPointError):
        trainer.checkpoint()
