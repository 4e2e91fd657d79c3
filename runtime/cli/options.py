"""Options of the command line, and types of their values, that several commands share."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import click

from deepmask.runtime.engines.device import ACCEPTED, is_device
from deepmask.runtime.model.manifest import ModelFolderError, Scales, checked_scales


class Number(click.FloatRange):
    """A range of numbers; NaN is outside of it."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


class Output(click.Path):
    """A file or folder to write to; never "-", which elsewhere stands for standard output."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "-":
            self.fail("- is standard output elsewhere, here results go to files", param, ctx)
        return super().convert(value, param, ctx)


def _checked_device(_: click.Context, __: click.Parameter, value: str) -> str:
    if not is_device(value):
        raise click.BadParameter(f"{value!r} is no device; expected {ACCEPTED}")
    return value


#: A probability that leaves both outcomes possible.
PROBABILITY = Number(0, 1, min_open=True, max_open=True)
IOU = Number(0, 1)
PATH = click.Path(path_type=Path)
OUTPUT = Output(path_type=Path)
OUTPUT_FOLDER = Output(path_type=Path, file_okay=False)

#: The options that say how a model is run; `None` stands for the model's own value.
#: Declares an option whose default is shown.
option = partial(click.option, show_default=True)
_ENGINES = ("auto", "tensorrt", "tensorrt-rtx", "openvino", "openvino-bf16", "onnxruntime")
engine_option = option(
    "--engine", type=click.Choice(_ENGINES), default="auto", help="Engine that runs the model."
)
device_option = option(
    "--device",
    callback=_checked_device,
    metavar="[auto|cpu|cuda|cuda:N]",
    default="auto",
    help="Device that the model runs on; cuda:1 is the second GPU in CUDA's order.",
)
cache_option = click.option(
    "--cache",
    type=PATH,
    metavar="DIR",
    help="Folder that keeps TensorRT's plans.  [default: one among the user's caches]",
)
labels_are_option = option(
    "--labels-are",
    type=click.Choice(("auto", "shown", "stored")),
    default="auto",
    help="What the labels of a picture that EXIF turns belong to: what viewers show, or what the "
    "file stores; auto: the annotated size decides, and where it cannot, what is shown.",
)
scales_option = click.option(
    "--scales",
    metavar="FROM:TO:STEP",
    help="Scales of the image pyramid as powers of two, as in --scales=-2:1:0.5.  "
    "[default: the model's]",
)
threshold_option = click.option(
    "--threshold",
    type=PROBABILITY,
    help="Probability above which a pixel belongs to a mask.  [default: the model's]",
)
overlap_option = click.option(
    "--overlap",
    type=IOU,
    help="Rank a proposal lower where its IoU with a better one is above this; 1: never.  "
    "[default: the model's]",
)
tf32_option = option(
    "--tf32/--no-tf32",
    default=True,
    help="On GPUs that can, round float32 products to TF32, 10 bits: several times as fast.",
)
fp16_option = option(
    "--fp16/--no-fp16",
    default=True,
    help="On TensorRT, compute in float16 where the model was measured to keep its recall.",
)
model_option = click.option(
    "--model",
    type=PATH,
    metavar="DIR",
    help="Model folder, or a shipped model's name, as in fpn-lite-int8.  [default: fpn-lite]",
)
coarse_option = click.option(
    "--coarse",
    is_flag=True,
    help="Use the coarse masks of a SharpMask model, without its refinement: faster, same ranking.",
)
zoom_option = click.option(
    "--zoom",
    count=True,
    type=click.IntRange(0, 2),
    help="Add one larger scale: finds smaller objects, takes longer. Given twice, it adds two.",
)


def parse_scales(text: str) -> Scales:
    """Read FROM:TO:STEP, powers of two; raises `click.UsageError`."""
    try:
        start, stop, step = map(float, text.split(":"))
        return checked_scales(start, stop, step)
    except ValueError:
        problem = "not three numbers"
    except ModelFolderError as error:
        problem = str(error)
    raise click.UsageError(f"--scales {text}: {problem}; expected FROM:TO:STEP, as in -2:1:0.5")
