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
from deepmask.runtime.cli.options import (
    PATH,
    cache_option,
    coarse_option,
    device_option,
    engine_option,
    option,
    overlap_option,
    parse_scales,
    say_aside,
    scales_option,
    threshold_option,
    zoom_option,
)
from deepmask.runtime.cli.progress import progress_bar
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
def command(images: tuple[Path, ...], **options: Any) -> int:
    """Find the objects in each IMAGE, a file or a folder of files, as masks.

    IMAGE may also be one video, or the number of a camera. Writes the objects as COCO results:
    compressed RLE, box and score, best first. Images are turned upright by their EXIF orientation.
    The image_id is the number in a COCO file name; any other file gets the next free number.

    \b
    Examples:
      deepmask-trt-run photograph.jpg --overlay overlay.png --html report.html
      deepmask-trt-run holiday/ --proposals 100 --out holiday.json --overlay pictures/
      deepmask-trt-run holiday/ --format labelme --min-score 0.5
      deepmask-trt-run clip.mp4 --overlay objects.mp4
      deepmask-trt-run --model models/vgg-a --engine onnxruntime --device cuda *.jpg

    Exit code 0: all images are done; 1: some image failed, the others are done; 2: wrong use; 130
    or 143: stopped by Ctrl-C or SIGTERM, the images that were done are in the files.
    """
    scales = None if options["scales"] is None else parse_scales(options["scales"])
    from deepmask.runtime.cli.batch import Outcome, Settings, expand, run_batch
    from deepmask.runtime.cli.outputs import plan_outputs
    from deepmask.runtime.cli.report import model_lines, object_lines, time_lines
    from deepmask.runtime.cli.video import run_video
    from deepmask.runtime.io.video import Video, is_video
    from deepmask.runtime.predict.deepmask import DeepMask

    paths = expand(images)
    outputs = plan_outputs(paths, options)
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
    click.echo("\n".join(model_lines(model, settings.scales)))
    outcomes: list[Outcome] = []
    finished = False
    tell_rate = frame_rate(say_aside)
    with (
        one_interrupt(),
        model,
        outputs.writers() as (writer, page),
        suppress(KeyboardInterrupt),
        progress_bar() as show,
        # Closed at once when interrupted: nothing may run on when the model is closed.
        run_batch(model, paths, outputs, settings, writer, page)
        if video is None
        else run_video(model, video, outputs, settings, writer) as batch,
    ):
        for outcome in batch:
            # Proposals are large: only a single image's are shown, and so kept.
            kept = len(paths) == 1 and video is None
            outcomes.append(outcome if kept else replace(outcome, proposals=None, objects=None))
            show(counted, len(outcomes), total)
            if not total:
                tell_rate(len(outcomes))
        finished = True

    done = [outcome for outcome in outcomes if not outcome.error]
    if done:
        click.echo("\n".join(time_lines(model.stages, [one.seconds for one in done], counted)))
        click.echo("\n".join(f"wrote {name}" for name in outputs.written()))
    if video is not None and done:
        click.echo(tell_rate.line(len(done)))
    if done and (found := done[0].proposals) and (objects := done[0].objects):
        click.echo("\n".join(object_lines(found, objects)))
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        click.echo(f"Error: {outcome.error}", err=True)
    if not finished:
        kept_count = len(done) if writer is None else writer.images
        raise Interrupted(f"interrupted after {kept_count} of {total or 'unknown'} {counted}")
    if failed and total > 1:
        raise OneLineError(f"{len(failed)} of {total} {counted} failed, the others are done")
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-trt-run`."""
    # Pillow remarks on odd files; what matters of it is told as an error of that image.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    run_command(command, "deepmask-trt-run", arguments=arguments)
