"""The training loop: batches in, checkpoints and a log out; stops and resumes at any step."""

from __future__ import annotations

import csv
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from deepmask.train.annotations import DataError
from deepmask.train.batches import Batch, BatchMaker, augment, prefetch
from deepmask.train.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from deepmask.train.device import Hardware
from deepmask.train.loss import mask_loss, score_loss
from deepmask.train.model import DeepMask
from deepmask.train.optimise import (
    Average,
    freeze,
    learning_rate,
    make_optimiser,
    set_learning_rate,
)
from deepmask.train.recipe import Recipe
from deepmask.train.validate import validate

LAST = "last.pt"
LOG = "log.csv"
COLUMNS = (
    "step",
    "seconds",
    "patches_per_second",
    "learning_rate",
    "mask_loss",
    "score_loss",
    "val_mask_iou",
    "val_score_accuracy",
)


@dataclass(frozen=True)
class Schedule:
    """How often the loop looks up: in steps for log and validation, seconds for checkpoints."""

    log_every: int = 50
    validate_every: int = 500
    save_seconds: float = 600.0


class Trainer:
    """One model, its optimiser and its place in the recipe."""

    def __init__(self, model: DeepMask, recipe: Recipe, seed: int, hardware: Hardware) -> None:
        """`seed` decides dropout; batches have their own."""
        torch.manual_seed(seed)
        self.recipe = recipe
        self.seed = seed
        self.hardware = hardware
        self.model = model.to(hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, recipe)
        self.optimiser = make_optimiser(self.model, recipe)
        self.average = Average(self.model, recipe.average) if recipe.average else None
        self.step = 0

    def train_step(self, batch: Batch) -> tuple[float, float]:
        """One update; returns the mask loss and the score loss, NaN where the batch has none.

        Raises FloatingPointError when the loss is not finite: going on would only lose weights.
        """
        device = self.hardware.device
        set_learning_rate(self.optimiser, learning_rate(self.step, self.recipe))
        patches = augment(
            batch.patches.to(device, non_blocking=True).float(), batch.colours.to(device)
        )
        masks, labels = batch.masks.to(device), batch.labels.to(device)
        losses = self._losses(patches, masks, labels)
        loss = losses[0] + self.recipe.score_weight * losses[1]
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.step}: lower --lr or set --clip"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip:
            clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        if self.average:
            self.average.update(self.model, self.step)
        self.step += 1
        return (
            losses[0].item() if len(masks) else float("nan"),
            losses[1].item() if not labels.isnan().all() else float("nan"),
        )

    def _losses(self, patches: Tensor, masks: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mask loss and score loss; the branch a batch does not train is not run (§3)."""
        zero = patches.new_zeros(())
        with self.hardware.autocast():
            windows = self.model.windows(patches)
            mask_logits = self.model.mask(windows[: len(masks)]) if len(masks) else None
            scored = ~labels.isnan()
            score_logits = self.model.score(windows[scored]) if scored.any() else None
        return (
            zero if mask_logits is None else mask_loss(mask_logits.float(), masks),
            zero if score_logits is None else score_loss(score_logits.float(), labels[scored]),
        )

    def weights(self) -> dict[str, Tensor]:
        """The weights to use: the running average where there is one."""
        state = self.average.state if self.average else self.model.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def averaged(self) -> DeepMask:
        """A copy of the network with `weights()`, on the training device."""
        with torch.random.fork_rng(devices=[]):  # looking at the model must not change training
            model = DeepMask(self.model.config)
        model.load_state_dict(self.weights())
        return model.to(self.hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def checkpoint(self) -> Checkpoint:
        """Everything that resuming needs, with the weights to use beside it."""
        return Checkpoint(
            self.model.config,
            self.weights(),
            {
                "state": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seed": self.seed,
                "recipe": self.recipe.to_dict(),
                "random": torch.get_rng_state(),
                "random_cuda": (
                    torch.cuda.get_rng_state(self.hardware.device)
                    if self.hardware.device.type == "cuda"
                    else None
                ),
                "versions": {
                    "python": platform.python_version(),
                    "torch": str(torch.__version__),
                    "numpy": np.__version__,
                },
            },
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue where `checkpoint` was written.

        Only the number of steps may differ: a run can be made longer or shorter on the way.
        Raises `CheckpointError` when model, recipe or seed differ otherwise, naming what, and when
        the checkpoint lacks something.
        """
        if "optimiser" not in checkpoint.training:
            raise CheckpointError(
                "the checkpoint was stripped for publishing: it cannot be resumed"
            )
        try:
            self._compare(checkpoint)
            self._restore(checkpoint)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint cannot be resumed, its training state is not whole: {error!r:.150}"
            ) from error

    def _compare(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.training
        now: dict[str, Any] = {
            **self.model.config.to_dict(),
            **self.recipe.to_dict(),
            "seed": self.seed,
        }
        then = {**checkpoint.model.to_dict(), **training["recipe"], "seed": training["seed"]}
        differing = [
            f"{name} was {then.get(name)}, is {now.get(name)}"
            for name in sorted(now.keys() | then.keys())
            if name != "steps" and now.get(name) != then.get(name)
        ]
        if differing:
            raise CheckpointError(f"the run was started differently: {'; '.join(differing)}")
        if training["step"] > self.recipe.steps:
            raise CheckpointError(
                f"the run is at step {training['step']} already, beyond --steps {self.recipe.steps}"
            )

    def _restore(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.training
        self.model.load_state_dict(training["state"])
        self.optimiser.load_state_dict(training["optimiser"])
        if self.average:
            self.average.state = {
                name: value.to(self.hardware.device) for name, value in checkpoint.weights.items()
            }
        self.step = int(training["step"])
        torch.set_rng_state(training["random"])
        if training["random_cuda"] is not None and self.hardware.device.type == "cuda":
            torch.cuda.set_rng_state(training["random_cuda"], self.hardware.device)


def train(
    trainer: Trainer,
    make_batch: BatchMaker,
    validation: Sequence[Batch],
    out: Path,
    threads: int,
    schedule: Schedule,
) -> int:
    """Train until the recipe's last step, or until Ctrl-C or SIGTERM; returns the signal or 0.

    Writes `last.pt` on the schedule's timer, when stopped and at the end, and appends to `log.csv`.
    Raises DataError for a picture that cannot be read and ValueError where no negative is found;
    what was learnt by then is saved first.
    """
    recipe = trainer.recipe
    log = _Log(out / LOG, trainer.step)
    steps = range(trainer.step, recipe.steps)
    saved = started = time.monotonic()
    recent: list[tuple[float, float]] = []
    with (
        _stop_signal() as stop,
        tqdm(
            total=recipe.steps * recipe.batch,
            initial=trainer.step * recipe.batch,
            unit="patch",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        marked = started
        try:
            for batch in prefetch(make_batch, steps, threads, ahead=4 * threads):
                recent.append(trainer.train_step(batch))
                bar.update(recipe.batch)
                done = trainer.step == recipe.steps or bool(stop)
                checking = validation and (
                    trainer.step % schedule.validate_every == 0 or trainer.step == recipe.steps
                )
                if trainer.step % schedule.log_every == 0 or checking or done:
                    now = time.monotonic()
                    row = _row(
                        trainer, recent, len(recent) * recipe.batch / (now - marked), started
                    )
                    if checking:
                        quality = validate(trainer.averaged(), validation, trainer.hardware)
                        row["val_mask_iou"] = quality.mask_iou
                        row["val_score_accuracy"] = quality.score_accuracy
                    log.write(row)
                    bar.set_postfix_str(_brief(row))
                    if not sys.stderr.isatty():
                        print(f"step {trainer.step}/{recipe.steps}  {_brief(row)}", flush=True)
                    recent, marked = [], time.monotonic()
                if done or time.monotonic() - saved > schedule.save_seconds:
                    save_checkpoint(trainer.checkpoint(), out / LAST)
                    saved = time.monotonic()
                if done:
                    break
        except (DataError, ValueError):  # no further batch can be made
            save_checkpoint(trainer.checkpoint(), out / LAST)
            raise
    return stop[0] if stop else 0


class _Log:
    """`log.csv`: one row a report; rows after the step resumed from are dropped first."""

    def __init__(self, path: Path, step: int) -> None:
        kept: list[dict[str, str]] = []
        if step and path.is_file():
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                kept = [row for row in csv.DictReader(file) if _is_row(row, step)]
        self._path = path
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        temporary.replace(path)

    def write(self, row: dict[str, float]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(
                {
                    name: value if isinstance(value, int) else f"{value:.6g}"
                    for name, value in row.items()
                }
            )


def _is_row(row: dict[str, str], step: int) -> bool:
    """Whether a row read back is whole, which a killed run's last may not be, and not beyond."""
    whole = set(row) == set(COLUMNS) and None not in row.values()
    return whole and row["step"].isdecimal() and int(row["step"]) <= step


def _row(
    trainer: Trainer, recent: Sequence[tuple[float, float]], rate: float, started: float
) -> dict[str, float]:
    columns = np.array(recent, np.float64)
    means = [column[~np.isnan(column)] for column in columns.T]
    return {
        "step": trainer.step,
        "seconds": time.monotonic() - started,
        "patches_per_second": rate,
        "learning_rate": learning_rate(trainer.step - 1, trainer.recipe),
        "mask_loss": float(means[0].mean()) if means[0].size else float("nan"),
        "score_loss": float(means[1].mean()) if means[1].size else float("nan"),
    }


def _brief(row: dict[str, float]) -> str:
    text = f"mask {row['mask_loss']:.4f} score {row['score_loss']:.4f}"
    text += f" {row['patches_per_second']:.0f} patches/s"
    if "val_mask_iou" in row:
        text += f" | val IoU {row['val_mask_iou']:.3f} score {row['val_score_accuracy']:.3f}"
    return text


@contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """Holds the signal once Ctrl-C or SIGTERM came; a second one interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
