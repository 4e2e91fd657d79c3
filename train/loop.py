"""Run the training loop: batches in, checkpoints and a log out; stop and resume at any step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from deepmask.coco.errors import LabelError
from deepmask.networks.family import Batch
from deepmask.runtime.io.atomic import remove_stale
from deepmask.train.checkpoint import save_checkpoint
from deepmask.train.log import Log, brief, columns, loss_column, measure_column
from deepmask.train.optimise import learning_rate
from deepmask.train.parallel import PeerLostError
from deepmask.train.prefetch import prefetch
from deepmask.train.recall import DECIDING, RecallImage, measure_recall
from deepmask.train.trainer import Trainer
from deepmask.train.validate import validate

LAST = "last.pt"
BEST = "best.pt"
LOG = "log.csv"


@dataclass(frozen=True)
class Schedule:
    """How often the loop logs, validates (in steps) and saves (in seconds)."""

    log_every: int = 50
    validate_every: int = 500
    recall_every: int = 2000
    save_seconds: float = 600.0


def run_loop(
    trainer: Trainer,
    make_batch: Callable[[int], Batch],
    validation: Sequence[Batch],
    out: Path,
    threads: int,
    schedule: Schedule,
    images: Sequence[RecallImage] = (),
    report: Callable[[str], None] = lambda line: None,
    bar: bool = False,
) -> int:
    """Train until the recipe's last step, or until Ctrl-C or SIGTERM; returns the signal or 0.

    `validation` are the fixed batches to measure on, `images` those for average recall. Each row of
    the log is told to `report` as a line, or shown by a progress `bar` on standard error instead.
    Writes `last.pt` on the schedule's timer, when stopped and at the end, `best.pt` whenever
    `DECIDING` recall is higher than ever before, and appends to `log.csv`. Of several processes
    the first does this alone, and a signal to any of them stops all at the same step.
    Raises LabelError for a picture that cannot be read, ValueError where no negative is found and
    PeerLostError where another process ended; what was learnt by then is saved first.
    """
    recipe, team = trainer.recipe, trainer.team
    steps = range(trainer.step, recipe.steps)
    on_gpu = trainer.hardware.device.type == "cuda"
    make = (lambda step: make_batch(step).pinned()) if on_gpu else make_batch
    stopped = 0
    with (
        _stop_signal() as received,
        tqdm(
            total=recipe.steps * recipe.batch,
            initial=trainer.step * recipe.batch,
            unit=f" {trainer.family.units}",
            unit_scale=True,
            disable=not (team.leads and bar),
        ) as progress,
    ):
        tell = progress.set_postfix_str if bar else report
        reporter = None
        if team.leads:
            reporter = _Reporter(trainer, validation, images, out, schedule, tell)
        try:
            for batch in prefetch(make, steps, threads, ahead=4 * threads):
                trainer.train_step(batch)
                progress.update(recipe.batch)
                stopped = team.most(received[0] if received else 0)
                done = trainer.step == recipe.steps or bool(stopped)
                if reporter:
                    reporter.after_step(done)
                if done:
                    break
        except (LabelError, ValueError, PeerLostError):  # no further step can be made
            if team.leads:
                save_checkpoint(trainer.checkpoint(), out / LAST)
            raise
        team.most(0)  # none leaves before the first has saved: its end would end them all
    return stopped


class _Reporter:
    """Logs, validates and saves, each when it is due."""

    def __init__(
        self,
        trainer: Trainer,
        validation: Sequence[Batch],
        images: Sequence[RecallImage],
        out: Path,
        schedule: Schedule,
        tell: Callable[[str], None],
    ) -> None:
        self._trainer = trainer
        self._validation = validation
        self._images = images
        self._out = out
        self._schedule = schedule
        self._tell = tell
        remove_stale(out / LAST, out / BEST, out / LOG)
        self._log = Log(out / LOG, trainer.step, columns(trainer.family, trainer.loss_names))
        self._highest = self._log.highest(DECIDING)
        self._reported = trainer.step
        self._started = self._saved = self._marked = time.monotonic()

    def after_step(self, done: bool) -> None:
        """Do what is due after a step, which no other follows if `done`."""
        schedule = self._schedule
        validating = bool(self._validation) and self._is_due(schedule.validate_every)
        recalling = bool(self._images) and self._is_due(schedule.recall_every)
        if validating or recalling or done or self._trainer.step % schedule.log_every == 0:
            row = self._progress()
            if validating:
                row |= self._validate()
            if recalling:
                row |= self._recall()
            self._report(row)
        if done or time.monotonic() - self._saved > schedule.save_seconds:
            save_checkpoint(self._trainer.checkpoint(), self._out / LAST)
            self._saved = time.monotonic()

    def _is_due(self, every: int) -> bool:
        trainer = self._trainer
        return trainer.step == trainer.recipe.steps or trainer.step % every == 0

    def _progress(self) -> dict[str, float]:
        """Columns on training itself, up to now: validation's time does not count."""
        trainer = self._trainer
        losses = trainer.mean_losses()  # first, as it waits for a GPU
        now = time.monotonic()
        samples = (trainer.step - self._reported) * trainer.recipe.batch
        return {
            "step": trainer.step,
            "seconds": now - self._started,
            f"{trainer.family.units}_per_second": samples / (now - self._marked),
            "learning_rate": learning_rate(trainer.step - 1, trainer.recipe),
            **{loss_column(name): loss for name, loss in losses.items()},
        }

    def _validate(self) -> dict[str, float]:
        trainer = self._trainer
        found = validate(trainer.averaged(), self._validation, trainer.hardware)
        return {measure_column(name): value for name, value in found.items()}

    def _recall(self) -> Mapping[str, float]:
        """Average recall; the checkpoint is kept if it is the best so far."""
        trainer = self._trainer
        found = measure_recall(trainer.averaged(), self._images, trainer.hardware)
        if found[DECIDING] > self._highest:
            self._highest = found[DECIDING]
            save_checkpoint(trainer.checkpoint(), self._out / BEST)
        return found

    def _report(self, row: dict[str, float]) -> None:
        self._log.write(row)
        self._tell(f"step {self._trainer.step}/{self._trainer.recipe.steps}  {brief(row)}")
        self._reported, self._marked = self._trainer.step, time.monotonic()


@contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """Holds the signal once Ctrl-C or SIGTERM came; a second one interrupts at once.

    Python hands signals to the main thread only: a run in another one is not stopped by them.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

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
