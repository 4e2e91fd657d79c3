"""Runs that stop: whatever stops them, what was learnt is saved and goes on exactly."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepmask.coco.errors import LabelError
from deepmask.networks.patches.batches import PatchBatch, ScoredPatchBatches
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.train.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from deepmask.train.log import columns
from deepmask.train.loop import LAST, LOG, Schedule, run_loop
from deepmask.train.trainer import Trainer
from tests.train.small import Fresh, Maker, same

SCHEDULE = Schedule(log_every=2, validate_every=2, save_seconds=1e9)


@pytest.fixture
def make(maker: Maker) -> ScoredPatchBatches:
    return maker()


def resumed(fresh: Fresh, folder: Path) -> Trainer:
    trainer = fresh()
    torch.rand(7)  # another process has another random state
    trainer.resume(load_checkpoint(folder / LAST))
    return trainer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_changes_nothing(
    tmp_path: Path, make: ScoredPatchBatches, fresh: Fresh, number: signal.Signals
) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = fresh()
    assert run_loop(whole, make, [make(100)], tmp_path / "whole", 1, SCHEDULE) == 0

    def make_and_signal(step: int) -> PatchBatch:
        if step == 3:
            signal.raise_signal(number)
        return make(step)

    stopped = fresh()
    code = run_loop(stopped, make_and_signal, [make(100)], tmp_path / "parts", 1, SCHEDULE)
    assert code == number
    assert stopped.step < whole.step
    rest = resumed(fresh, tmp_path / "parts")
    assert rest.step == stopped.step
    assert run_loop(rest, make, [make(100)], tmp_path / "parts", 1, SCHEDULE) == 0
    assert same(whole.model.state_dict(), rest.model.state_dict())
    assert same(whole.weights(), rest.weights())
    logs = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "parts")]
    assert logs[0][-1].split(",")[4:] == logs[1][-1].split(",")[4:]


def test_validation_does_not_change_training(
    tmp_path: Path, make: ScoredPatchBatches, fresh: Fresh
) -> None:
    plain = fresh()
    run_loop(plain, make, [], tmp_path, 1, SCHEDULE)
    watched = fresh()
    run_loop(watched, make, [make(100)], tmp_path, 1, SCHEDULE)
    assert same(plain.model.state_dict(), watched.model.state_dict())


def test_a_picture_lost_on_the_way_keeps_what_was_learnt(
    tmp_path: Path, make: ScoredPatchBatches, fresh: Fresh
) -> None:
    def lose(step: int) -> PatchBatch:
        if step == 4:
            raise LabelError("gone.png (image 3): found nothing that can be decoded")
        return make(step)

    trainer = fresh()
    with pytest.raises(LabelError, match=r"gone\.png"):
        run_loop(trainer, lose, [], tmp_path, 1, SCHEDULE)
    rest = resumed(fresh, tmp_path)
    assert rest.step == 4
    run_loop(rest, make, [], tmp_path, 1, SCHEDULE)
    whole = fresh()
    (tmp_path / "whole").mkdir()
    run_loop(whole, make, [], tmp_path / "whole", 1, SCHEDULE)
    assert same(whole.weights(), rest.weights())


def test_fewer_steps_than_done_are_refused(
    make: ScoredPatchBatches, fresh: Fresh, tiny_recipe: DeepMaskRecipe
) -> None:
    trainer = fresh()
    for step in range(3):
        trainer.train_step(make(step))
    with pytest.raises(CheckpointError, match="is at step 3 already, beyond --steps 2"):
        fresh(replace(tiny_recipe, steps=2)).resume(trainer.checkpoint())


@pytest.mark.parametrize("lost", ["state", "step", "random", "recipe", "seed"])
def test_an_incomplete_checkpoint_is_refused(fresh: Fresh, lost: str) -> None:
    whole = fresh().checkpoint()
    training = {name: value for name, value in whole.training.items() if name != lost}
    with pytest.raises(CheckpointError, match=f"not whole: KeyError\\('{lost}'"):
        fresh().resume(Checkpoint(whole.model, whole.weights, training))


def test_a_torn_log_is_continued_after_its_last_whole_row(
    tmp_path: Path, make: ScoredPatchBatches, fresh: Fresh
) -> None:
    trainer = fresh()
    for step in range(3):
        trainer.train_step(make(step))
    names = columns(trainer.family, trainer.loss_names)
    row = "2," + ",".join("0" for _ in names[1:])
    (tmp_path / LOG).write_text(f"{','.join(names)}\n{row}\n9{row[1:]}\n1,0.5\n")
    run_loop(trainer, make, [], tmp_path, 1, SCHEDULE)
    lines = (tmp_path / LOG).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "2", "4", "6"]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith("tmp")] == []
