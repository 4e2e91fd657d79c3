"""Options of the command line, and types of their values, that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from deepmask.runtime.model.manifest import ModelFolderError, Scales, checked_scales


class Number(click.FloatRange):
    """A range of numbers; NaN is outside of it."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, or a usage error."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


#: A probability that leaves both outcomes possible.
PROBABILITY = Number(0, 1, min_open=True, max_open=True)
IOU = Number(0, 1)


#: The options that say how a model is run; `None` stands for the model's own value.
engine_option = click.option(
    "--engine",
    type=click.Choice(
        ["auto", "tensorrt", "tensorrt-rtx", "openvino", "openvino-bf16", "onnxruntime"]
    ),
    default="auto",
    show_default=True,
    help="What runs the model.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where it runs.",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where TensorRT's plans are kept.  [default: among the user's caches]",
)
scales_option = click.option(
    "--scales",
    metavar="FROM:TO:STEP",
    help="Pyramid scales as powers of two, as in --scales=-2:1:0.5.  [default: the model's]",
)
threshold_option = click.option(
    "--threshold",
    type=PROBABILITY,
    help="Probability above which a pixel belongs to a mask.  [default: the model's]",
)
overlap_option = click.option(
    "--overlap",
    type=IOU,
    help="IoU with a better proposal above which a near-duplicate is ranked lower; 1: never.  "
    "[default: the model's]",
)


coarse_option = click.option(
    "--coarse",
    is_flag=True,
    help="The blunter masks of a SharpMask model, without its refinement: faster, same ranking.",
)
zoom_option = click.option(
    "--zoom",
    count=True,
    type=click.IntRange(0, 2),
    help="One larger scale more: finds smaller objects, slower. Given twice, two (Zoom²).",
)


def parse_scales(text: str) -> Scales:
    """FROM:TO:STEP, powers of two; raises `click.UsageError`."""
    try:
        start, stop, step = map(float, text.split(":"))
        return checked_scales(start, stop, step)
    except ValueError:
        problem = "not three numbers"
    except ModelFolderError as error:
        problem = str(error)
    raise click.UsageError(f"--scales {text}: {problem}; expected FROM:TO:STEP, as in -2:1:0.5")
