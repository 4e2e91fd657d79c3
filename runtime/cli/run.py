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
@option(
    "--proposals",
    type=click.IntRange(1),
    default=1000,
    help="Maximum number of proposals per image.",
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
@option(
    "--out",
    type=PATH,
    default=Path("proposals.json"),
    help="File of COCO results. A second file, OUT with the suffix .images.json, tells which image "
    "each image_id is.",
)
@click.option(
    "--overlay",
    type=PATH,
    help="Picture to draw the best objects in; for several images, a folder of such pictures.",
)
@option(
    "--top",
    type=click.IntRange(1),
    default=20,
    help="Maximum number of objects in the picture and in the printed table.",
)
@click.option("--recursive", is_flag=True, help="Search the folders in a folder, too.")
@click.option(
    "--force",
    is_flag=True,
    help="Replace files that no run has made. An IMAGE is never replaced.",
)
def command(images: tuple[Path, ...], **options: Any) -> int:
    """Find the objects in each IMAGE as ranked masks: a file, a folder of files, a pattern such as
    'photos/**/*.jpg', or - for standard input.

    Writes all masks as COCO results: compressed RLE, box and score, best first. Images are turned
    upright by their EXIF orientation. The image_id is the number in a COCO file name; any other
    file gets the next free number.

    \b
    Examples:
      deepmask-trt-run photograph.jpg --overlay overlay.png
      deepmask-trt-run holiday/ --recursive --out holiday.json --overlay pictures/
      deepmask-trt-run --model models/vgg-a --engine onnxruntime --device cuda *.jpg

    Exit code 0: all images are done; 1: some image failed, the others are done; 2: wrong use; 130
    or 143: stopped by Ctrl-C or SIGTERM, the images that were done are in the files.
    """
    from deepmask.runtime.cli.inputs import with_stdin

    with with_stdin(images) as inputs:
        return _run(inputs, options)


def _run(inputs: list[Path], options: dict[str, Any]) -> int:
    scales = None if options["scales"] is None else parse_scales(options["scales"])
    from deepmask.runtime.cli.batch import Outcome, Settings, overlay_paths, run_batch
    from deepmask.runtime.cli.inputs import expand, names_of
    from deepmask.runtime.cli.report import model_lines, proposal_lines, time_lines
    from deepmask.runtime.io.outputs import require_writable
    from deepmask.runtime.io.results import ResultsWriter, result_files
    from deepmask.runtime.predict.deepmask import DeepMask

    paths = expand(inputs, options["recursive"], leave_out=options["overlay"])
    called = names_of(paths, inputs)
    overlays = overlay_paths(called, options["overlay"])
    outputs = {"--out": result_files(options["out"]), "--overlay": filter(None, overlays)}
    require_writable(outputs, [*paths, *_files_of(options["model"])], options["force"])
    names = ("engine", "device", "threads", "coarse", "max_side", "cache")
    given = {name: options[name] for name in names}
    with progress_bar() as show:
        model = DeepMask.load(options["model"], **given, report=say_aside, progress=show)
    scales = scales or model.manifest.views.scales
    settings = Settings(
        proposals=options["proposals"],
        scales=scales.zoomed(options["zoom"]),
        threshold=options["threshold"] or model.manifest.threshold,
        overlap=model.manifest.overlap if options["overlap"] is None else options["overlap"],
        max_side=options["max_side"],
        max_pixels=options["max_pixels"],
        top=options["top"],
    )
    click.echo("\n".join(model_lines(model, settings.scales)))
    outcomes: list[Outcome] = []
    finished = False
    with (
        one_interrupt(),
        model,
        ResultsWriter(options["out"]) as writer,
        suppress(KeyboardInterrupt),
        progress_bar() as show,
        # Closed at once when interrupted: nothing may run on when the model is closed.
        closing(run_batch(model, paths, overlays, settings, writer, called)) as batch,
    ):
        for outcome in batch:
            # Proposals are large: only a single image's are shown, and so kept.
            outcomes.append(outcome if len(paths) == 1 else replace(outcome, proposals=None))
            show("images", len(outcomes), len(paths))
        finished = True

    done = [outcome for outcome in outcomes if not outcome.error]
    if done:
        click.echo("\n".join(time_lines(model.stages, [outcome.seconds for outcome in done])))
        click.echo(f"wrote {writer.path} and {writer.images_path}")
    if len(paths) == 1 and done and done[0].proposals is not None:
        click.echo("\n".join(proposal_lines(done[0].proposals, settings.top)))
    if overlays[0] is not None and done:
        click.echo(f"wrote {options['overlay']}")
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        click.echo(f"Error: {outcome.error}", err=True)
    if not finished:
        raise Interrupted(f"interrupted after {writer.images} of {len(paths)} images")
    if failed and len(paths) > 1:
        raise OneLineError(f"{len(failed)} of {len(paths)} images failed, the others are done")
    return 1 if failed else 0


def _files_of(model: Path | None) -> list[Path]:
    return sorted(model.iterdir()) if model is not None and model.is_dir() else []


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-trt-run`."""
    # Pillow remarks on odd files; what matters of it is told as an error of that image.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    run_command(command, "deepmask-trt-run", arguments=arguments)
