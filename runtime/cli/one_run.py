"""One run of `deepmask-trt-run`, from its inputs to what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deepmask.runtime.cli.batch import Outcome, Outcomes, Settings, run_batch
from deepmask.runtime.cli.boxes_only import require_masks
from deepmask.runtime.cli.inputs import expand, names_of
from deepmask.runtime.cli.labels import Labels, labels_of
from deepmask.runtime.cli.main import Interrupted, one_interrupt, share_lock_fairly
from deepmask.runtime.cli.messages import say, say_aside
from deepmask.runtime.cli.plan import plan_outputs
from deepmask.runtime.cli.progress import Rate, progress_bar
from deepmask.runtime.cli.report import model_lines, object_lines, time_lines
from deepmask.runtime.cli.result_options import POOL, objects_arguments
from deepmask.runtime.cli.video import run_video
from deepmask.runtime.errors import OneLineError, counted
from deepmask.runtime.io.html_report import HtmlReport
from deepmask.runtime.io.outputs import require_writable
from deepmask.runtime.io.results import ResultsWriter
from deepmask.runtime.io.video import Video, is_video
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.deepmask import DeepMask

#: What messages call an image that was piped to standard input.
_PIPED = "standard input"


def run(
    inputs: Sequence[Path], scales: Scales | None, options: dict[str, Any], piped: bool = False
) -> int:
    """Run images, or one video, through a model; return the exit code.

    options  of the command, by name; `scales` are those it was given.
    piped    the only input is a copy of what came from standard input.
    """
    leave_out = [folder for folder in (options["overlay"], options["out"]) if folder is not None]
    paths = expand(inputs, options["recursive"], leave_out)
    called = names_of(paths, inputs)
    outputs = plan_outputs(paths, called, options)
    require_writable(outputs.by_option(), [*paths, *_files_of(options["model"])], options["force"])
    video = Video(paths[0], options["max_pixels"]) if is_video(paths[0]) else None
    things, total = ("images", len(paths)) if video is None else ("frames", video.total)
    names = ("engine", "device", "threads", "coarse", "max_side", "zoom", "tf32", "fp16", "cache")
    given = {name: options[name] for name in names}
    with progress_bar() as show:
        model = DeepMask.load(
            options["model"], **given, scales=scales, report=say_aside, progress=show
        )
    share_lock_fairly(model.choice.device)
    require_masks(model.manifest, options)
    labels = labels_of(model.manifest, options)
    settings = _settings(model, scales, labels, options)
    say("\n".join(model_lines(model, settings.scales)))

    def start(
        writer: ResultsWriter | None, page: HtmlReport | None
    ) -> AbstractContextManager[Outcomes]:
        if video is not None:
            return run_video(model, video, outputs.overlays[0], settings, writer)
        files, overlays = outputs.files, outputs.overlays
        return closing(
            run_batch(model, paths, overlays, settings, writer, called, files=files, page=page)
        )

    outcomes: list[Outcome] = []
    finished = False
    rate = Rate(things)
    with (
        one_interrupt(),
        model,
        outputs.writers(labels.by_id, labels.note) as (writer, page),
        suppress(KeyboardInterrupt),
        progress_bar() as show,
        # Closed at once when interrupted: nothing may run on when the model is closed.
        start(writer, page) as batch,
    ):
        for outcome in batch:
            # Proposals are large: only a single image's are shown, and so kept.
            is_shown = total == 1 and video is None
            outcomes.append(outcome if is_shown else replace(outcome, proposals=None, objects=None))
            show(things, len(outcomes), total)
            if not total:
                rate.now_and_then(len(outcomes))
        finished = True

    done = [outcome for outcome in outcomes if not outcome.error]
    if done:
        outputs.write_classes([*labels.by_id.values()], [] if piped else paths)
        if total != 1:
            say(rate.line(len(done)))
        _tell(model, done, things, outputs.written(options["overlay"]))
    in_all = counted(total, things) if total else f"an unknown number of {things}"
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        told = outcome.error.replace(str(outcome.path), _PIPED) if piped else outcome.error
        click.echo(f"Error: {told}", err=True)
    if not finished:
        kept = len(done) if writer is None else writer.images
        raise Interrupted(f"interrupted after {kept} of {in_all}")
    if failed and total > 1:
        raise OneLineError(f"{len(failed)} of {in_all} failed, the others are done")
    return 1 if failed else 0


def _settings(
    model: DeepMask, scales: Scales | None, labels: Labels, options: dict[str, Any]
) -> Settings:
    """Return how to treat each image: as the options say, else as the model does."""
    manifest = model.manifest
    return Settings(
        proposals=options["proposals"] or POOL,
        scales=(scales or manifest.views.scales).zoomed(options["zoom"]),
        threshold=options["threshold"] or manifest.threshold,
        overlap=manifest.overlap if options["overlap"] is None else options["overlap"],
        max_side=options["max_side"],
        max_pixels=options["max_pixels"],
        labels=labels.wanted,
        label_score=options["label_score"],
        kept=labels.kept,
        objects=objects_arguments(options),
        kind=options["kind"],
        whole=options["proposals"] is not None and not options["objects"],
    )


def _tell(model: DeepMask, done: Sequence[Outcome], things: str, written: Sequence[str]) -> None:
    """Print the time of each stage, the files, and the objects of a single image."""
    say("\n".join(time_lines(model.stages, [outcome.seconds for outcome in done], things)))
    say("\n".join(f"wrote {name}" for name in written))
    proposals, objects = done[0].proposals, done[0].objects
    if proposals is not None and objects is not None:
        say("\n".join(object_lines(proposals, objects)))


def _files_of(model: Path | None) -> list[Path]:
    return sorted(model.iterdir()) if model is not None and model.is_dir() else []
