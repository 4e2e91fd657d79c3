"""Run the training loop: batches in, checkpoints and a log out; stop and resume at any step."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

from tqdm import tqdm

from deepmask.coco.errors import LabelError
from deepmask.networks.family import TensorBatch
from deepmask.networks.processes import PeerLostError
from deepmask.runtime.io.atomic import remove_stale
from deepmask.train.checkpoint import save_checkpoint
from deepmask.train.log import Log, brief, columns
from deepmask.train.losses import validate
from deepmask.train.optimise import learning_rate
from deepmask.train.pace import Pace
from deepmask.train.recall import DECIDING, RecallImage, deciding, measure_recall
from deepmask.train.trainer import Trainer

LAST, BEST, LOG = "last.pt", "best.pt", "log.csv"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Schedule:
    """How often the loop logs, validates (in steps) and saves (in seconds)."""

    log_every: int = 50
    validate_every: int = 500
    recall_every: int = 2000
    save_seconds: float = 600.0


def run_loop(
    trainer: Trainer,
    make_batch: Callable[[int], TensorBatch],
    validation: Sequence[TensorBatch],
    out: Path,
    threads: int,
    schedule: Schedule,
    images: Sequence[RecallImage] = (),
    report: Callable[[str], None] = lambda line: None,
    bar: bool = False,
) -> int:
    """Train until the recipe's last step, or until Ctrl-C or SIGTERM; returns the signal or 0.

    `validation` are the fixed batches to measure on, `images` those for average recall. Each row of
    the log is told to `report` as a line, and the pace every ten seconds; or a progress `bar` on
    standard error shows them instead.
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
            pace = None if bar else Pace(trainer.step, recipe.steps)
            reporter = _Reporter(trainer, validation, images, out, schedule, tell, pace)
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


def prefetch(make: Callable[[int], Made], steps: range, threads: int, ahead: int) -> Iterator[Made]:
    """Yield `make(step)` for each step in order, up to `ahead` batches made in advance."""
    with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@dataclass
class _Reporter:
    """Logs, validates and saves, each when it is due."""

    trainer: Trainer
    validation: Sequence[TensorBatch]
    images: Sequence[RecallImage]
    out: Path
    schedule: Schedule
    tell: Callable[[str], None]
    pace: Pace | None

    def __post_init__(self) -> None:
        trainer, out = self.trainer, self.out
        remove_stale(out / LAST, out / BEST, out / LOG)
        self._log = Log(out / LOG, trainer.step, columns(trainer.family, trainer.loss_names))
        known = [self._log.highest(column) for column in DECIDING]
        self._highest = next((one for one in known if one > -math.inf), -math.inf)
        self._reported = trainer.step
        self._started = self._saved = self._marked = time.monotonic()

    def after_step(self, done: bool) -> None:
        schedule = self.schedule
        validating = bool(self.validation) and self._is_due(schedule.validate_every)
        recalling = bool(self.images) and self._is_due(schedule.recall_every)
        if validating or recalling or done or self.trainer.step % schedule.log_every == 0:
            row = self._progress()
            if validating:
                found = validate(self.trainer.averaged(), self.validation, self.trainer.hardware)
                row |= {f"val_{name}": value for name, value in found.items()}
            if recalling:
                row |= self._recall()
            self._log.write(row)
            self.tell(f"step {self.trainer.step}/{self.trainer.recipe.steps}  {brief(row)}")
            self._reported, self._marked = self.trainer.step, time.monotonic()
            if self.pace:
                self.pace.told()
        elif self.pace and (line := self.pace.line(self.trainer.step)):
            self.tell(line)
        if done or time.monotonic() - self._saved > schedule.save_seconds:
            save_checkpoint(self.trainer.checkpoint(), self.out / LAST)
            self._saved = time.monotonic()

    def _is_due(self, every: int) -> bool:
        trainer = self.trainer
        return trainer.step == trainer.recipe.steps or trainer.step % every == 0

    def _progress(self) -> dict[str, float]:
        trainer = self.trainer
        losses = trainer.mean_losses()  # first, as it waits for a GPU
        now = time.monotonic()  # before validation, whose time does not count
        samples = (trainer.step - self._reported) * trainer.recipe.batch
        return {
            "step": trainer.step,
            "seconds": now - self._started,
            f"{trainer.family.units}_per_second": samples / (now - self._marked),
            "learning_rate": learning_rate(trainer.step - 1, trainer.recipe),
            **{f"{name}_loss": loss for name, loss in losses.items()},
        }

    def _recall(self) -> Mapping[str, float]:
        trainer = self.trainer
        found = measure_recall(trainer.averaged(), self.images, trainer.hardware)
        if deciding(found) > self._highest:
            self._highest = deciding(found)
            save_checkpoint(trainer.checkpoint(), self.out / BEST)
        return found


@contextmanager
def _stop_signal() -> Iterator[list[int]]:
    # The list holds the signal once Ctrl-C or SIGTERM came; a second one interrupts at once.
    received: list[int] = []
    # Python hands signals to the main thread only: a run in another one is not stopped by them.
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
