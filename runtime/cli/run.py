"""`deepmask-trt-run`: ranked object masks of photographs, from the command line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from deepmask.runtime.cli.main import Command, run_command
from deepmask.runtime.cli.options import (
    PATH,
    cache_option,
    coarse_option,
    device_option,
    engine_option,
    fp16_option,
    model_option,
    option,
    overlap_option,
    parse_scales,
    scales_option,
    tf32_option,
    threshold_option,
    zoom_option,
)
from deepmask.runtime.cli.result_options import result_options


@click.command(cls=Command)
@click.argument("images", nargs=-1, required=True, type=PATH, metavar="IMAGE...")
@model_option
@engine_option
@device_option
@tf32_option
@fp16_option
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
    scales = None if options["scales"] is None else parse_scales(options["scales"])
    from deepmask.runtime.cli.one_run import run

    with with_stdin(images) as inputs:
        return run(inputs, scales, options, piped=STDIN in images)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-trt-run`."""
    # Pillow remarks on odd files; what matters of it is told as an error of that image.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    run_command(command, "deepmask-trt-run", arguments=arguments)
