"""`deepmask-trt-run`: ranked object masks of photographs, from the command line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from deepmask.runtime.cli.main import Command, Interrupted, one_interrupt, run_command
from deepmask.runtime.cli.messages import say, say_aside
from deepmask.runtime.cli.options import (
    PATH,
    cache_option,
    coarse_option,
    device_option,
    engine_option,
    option,
    overlap_option,
    parse_scales,
    scales_option,
    threshold_option,
    zoom_option,
)
from deepmask.runtime.cli.progress import Rate, progress_bar
from deepmask.runtime.cli.result_options import POOL, objects_arguments, result_options
from deepmask.runtime.errors import OneLineError


@click.command(cls=Command)
@click.argument("images", nargs=-1, required=True, type=PATH, metavar="IMAGE...")
@click.option("--model", type=PATH, metavar="DIR", help="Model folder.  [default: the shipped one]")
@engine_option
@device_option
@cache_option
@option(
    "--threads", type=click.IntRange(0), default=0, help="Number of CPU threads; 0: one per core."
)
@scales_option
@zoom_option
@coarse_option
@threshold_option
@overlap_option
@click.option(
    "--max-side",
    type=click.IntRange(1),
    help="Search a larger image as if its longer side had this many pixels. The masks keep the "
    "image's own resolution.  [default: the model's]",
)
@option(
    "--max-pixels",
    type=click.IntRange(1),
    default=100_000_000,
    help="Refuse an image with more pixels than this before it is decoded.",
)
@result_options
@click.option("--recursive", is_flag=True, help="Search the folders in a folder, too.")
@click.option(
    "--force",
    is_flag=True,
    help="Replace files that no run has made. An IMAGE is never replaced.",
)
def command(images: tuple[Path, ...], **options: Any) -> int:
    """Find the objects in each IMAGE as masks: a file, a folder of files, a pattern such as
    'photos/**/*.jpg', or - for standard input; or in one video, or a camera of this number.

    Writes the objects as COCO results: compressed RLE, box and score, best first. Images are turned
    upright by their EXIF orientation. The image_id is the number in a COCO file name; any other
    file gets the next free number, and a frame of a video its own.

    \b
    Examples:
      deepmask-trt-run photograph.jpg --overlay overlay.png --html report.html
      deepmask-trt-run holiday/ --recursive --out holiday.json --overlay pictures/
      deepmask-trt-run holiday/ --format labelme --top 10
      deepmask-trt-run clip.mp4 --overlay objects.mp4
      deepmask-trt-run --model models/vgg-a --engine onnxruntime --device cuda *.jpg

    Exit code 0: all images are done; 1: some image failed, the others are done; 2: wrong use; 130
    or 143: stopped by Ctrl-C or SIGTERM, the images that were done are in the files.
    """
    from deepmask.runtime.cli.inputs import STDIN, InputError, with_stdin

    if STDIN in images and options["kind"] == "labelme":
        raise InputError("--format labelme: names the image's file, standard input has none")
    with with_stdin(images) as inputs:
        return _run(inputs, options)


def _run(inputs: list[Path], options: dict[str, Any]) -> int:
    scales = None if options["scales"] is None else parse_scales(options["scales"])
    from deepmask.runtime.cli.batch import Outcome, Settings, run_batch
    from deepmask.runtime.cli.inputs import expand, names_of
    from deepmask.runtime.cli.plan import plan_outputs
    from deepmask.runtime.cli.report import model_lines, object_lines, time_lines
    from deepmask.runtime.cli.video import run_video
    from deepmask.runtime.io.outputs import require_writable
    from deepmask.runtime.io.video import Video, is_video
    from deepmask.runtime.predict.deepmask import DeepMask

    leave_out = [folder for folder in (options["overlay"], options["out"]) if folder is not None]
    paths = expand(inputs, options["recursive"], leave_out)
    called = names_of(paths, inputs)
    outputs = plan_outputs(paths, called, options)
    require_writable(outputs.by_option(), [*paths, *_files_of(options["model"])], options["force"])
    video = Video(paths[0], options["max_pixels"]) if is_video(paths[0]) else None
    counted, total = ("images", len(paths)) if video is None else ("frames", video.total)
    names = ("engine", "device", "threads", "coarse", "max_side", "cache")
    given = {name: options[name] for name in names}
    with progress_bar() as show:
        model = DeepMask.load(options["model"], **given, report=say_aside, progress=show)
    scales = scales or model.manifest.views.scales
    settings = Settings(
        proposals=options["proposals"] or POOL,
        scales=scales.zoomed(options["zoom"]),
        threshold=options["threshold"] or model.manifest.threshold,
        overlap=model.manifest.overlap if options["overlap"] is None else options["overlap"],
        max_side=options["max_side"],
        max_pixels=options["max_pixels"],
        objects=objects_arguments(options),
        kind=options["kind"],
        whole=options["proposals"] is not None and not options["objects"],
    )
    say("\n".join(model_lines(model, settings.scales)))
    outcomes: list[Outcome] = []
    finished = False
    rate = Rate(counted)
    with (
        one_interrupt(),
        model,
        outputs.writers() as (writer, page),
        suppress(KeyboardInterrupt),
        progress_bar() as show,
        # Closed at once when interrupted: nothing may run on when the model is closed.
        closing(
            run_batch(
                *(model, paths, outputs.overlays, settings, writer, called),
                files=outputs.files,
                page=page,
            )
        )
        if video is None
        else run_video(model, video, outputs.overlays[0], settings, writer) as batch,
    ):
        for outcome in batch:
            # Proposals are large: only a single image's are shown, and so kept.
            kept = total == 1 and video is None
            outcomes.append(outcome if kept else replace(outcome, proposals=None, objects=None))
            show(counted, len(outcomes), total)
            if not total:
                rate.now_and_then(len(outcomes))
        finished = True

    done = [outcome for outcome in outcomes if not outcome.error]
    if done and total != 1:
        say(rate.line(len(done)))
    if done:
        say("\n".join(time_lines(model.stages, [one.seconds for one in done], counted)))
        say("\n".join(f"wrote {name}" for name in outputs.written(options["overlay"])))
    if done and (found := done[0].proposals) and (objects := done[0].objects):
        say("\n".join(object_lines(found, objects)))
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        click.echo(f"Error: {outcome.error}", err=True)
    if not finished:
        kept_count = len(done) if writer is None else writer.images
        raise Interrupted(f"interrupted after {kept_count} of {total or 'unknown'} {counted}")
    if failed and total > 1:
        raise OneLineError(f"{len(failed)} of {total} {counted} failed, the others are done")
    return 1 if failed else 0


def _files_of(model: Path | None) -> list[Path]:
    return sorted(model.iterdir()) if model is not None and model.is_dir() else []


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-trt-run`."""
    # Pillow remarks on odd files; what matters of it is told as an error of that image.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    run_command(command, "deepmask-trt-run", arguments=arguments)
