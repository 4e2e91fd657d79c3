"""`deepmask-export`: a checkpoint becomes a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from deepmask.export.errors import ExportUsageError
from deepmask.export.options import ExportOptions, find_source
from deepmask.runtime.cli.main import Command, run_command
from deepmask.runtime.cli.messages import say
from deepmask.runtime.cli.options import (
    IOU,
    OUTPUT,
    OUTPUT_FOLDER,
    PATH,
    PROBABILITY,
    Number,
    cache_option,
    parse_scales,
)
from deepmask.runtime.cli.progress import progress_bar

#: Libraries of the extra `export`.
EXTRA = ("torch", "onnx", "onnxscript", "onnxruntime")


@click.command(cls=Command)
@click.argument("checkpoint", metavar="CHECKPOINT|MODEL", type=PATH)
@click.option(
    "--out",
    type=OUTPUT,
    metavar="DIR",
    help="Model folder to write. An exported model that is there is replaced, anything else is "
    "not.  [default: beside the checkpoint and named after it; for a MODEL with its precision]",
)
@click.option(
    "--force", is_flag=True, help="Replace also a model that was changed since it was exported."
)
@click.option("--name", help="The model's name in model.json.  [default: the source's]")
@click.option(
    "--weights",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="How weights are stored. fp16 halves the size of the files; the arithmetic stays fp32.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8", "int8-symmetric"]),
    default="fp32",
    show_default=True,
    help="Precision of the graphs' arithmetic. int8 is the fastest on a CPU; int8-symmetric is the "
    "int8 form for TensorRT; fp16 is for GPUs. Inputs, outputs and the layers that rank stay fp32.",
)
@click.option(
    "--calibration",
    "photographs",
    type=PATH,
    metavar="DIR",
    help="Folder of some dozens of photographs like those the model will see. int8 needs it to "
    "measure value ranges, and keeps ten of them apart for the comparison with fp32. fp16 uses "
    "them for the comparison only; without them it uses drawn pictures.",
)
@click.option(
    "--scales",
    metavar="FROM:TO:STEP",
    help="Scales of the image pyramid that the runtime uses by default, as powers of two.  "
    "[default: -2:1:0.5 for a 224 px model, -2.5:0.5:0.5 for 160 px, in proportion for others]",
)
@click.option(
    "--threshold",
    type=PROBABILITY,
    help="Probability above which a pixel belongs to a mask, unless the runtime is told another.  "
    "[default: the network's own, 0.4; the paper's is 0.2]",
)
@click.option(
    "--overlap",
    type=IOU,
    help="The runtime ranks a proposal lower where its IoU with a better one is above this; 1: "
    "never, as in the paper.  [default: the network's own, 0.75]",
)
@click.option(
    "--scale-prior",
    type=Number(-10, 10),
    help="Logits that the runtime adds to a score for each octave its scale is below 1, so that "
    "parts rank below whole objects; 0: none, as in the paper.  [default: the network's own, 0.5]",
)
@click.option(
    "--validation",
    type=PATH,
    metavar="JSON",
    help="COCO instances file of labelled photographs like those the model will see: threshold, "
    "overlap and scale prior become those that find most objects in up to 40 of them, as far as "
    "they are not given. Takes some minutes.",
)
@click.option("--validation-images", type=PATH, metavar="DIR", help="Folder of those photographs.")
@click.option(
    "--scores-from",
    type=PATH,
    metavar="PT",
    help="Rank this checkpoint's masks by the scores of another one of the same preset, as the "
    "paper's DeepMask20* does. Both networks run: twice the time.",
)
@click.option(
    "--opset",
    type=click.IntRange(18, 23),
    default=18,
    show_default=True,
    help="ONNX operator set.",
)
@click.option(
    "--build-engine",
    is_flag=True,
    help="Also build the model's TensorRT plans, which deepmask-trt-run would otherwise build on "
    "first use. The next four options need this one.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]),
    help="TensorRT library that builds.  [default: auto, the first that is installed]",
)
@click.option(
    "--target",
    multiple=True,
    metavar="SM",
    help="Compute capability of the GPU to build for, as in sm89, with TensorRT for RTX: no GPU is "
    "needed here. May be repeated.  [default: this machine's GPU]",
)
@click.option(
    "--max-size",
    type=click.IntRange(1333, 8192),
    help="Longest side of an image that the plans take without shrinking it: the largest "
    "--max-side of deepmask-trt-run.  [default: the model's]",
)
@cache_option
@click.option(
    "--triton",
    type=OUTPUT_FOLDER,
    metavar="DIR",
    help="Also add the model to DIR, a model repository for NVIDIA Triton, as its next version.",
)
def command(checkpoint: Path, **given: Any) -> None:
    """Export CHECKPOINT, a .pt file of deepmask-train, as the model folder that deepmask-trt-run
    reads; or MODEL, such a folder in fp32 or the name of a shipped one, in a lower --precision.

    The folder holds the network's graphs, each complete in itself and readable by any ONNX tool,
    and model.json, which describes them, and the gray border that is painted around a picture. A
    DeepMask's are trunk.onnx, score.onnx and mask.onnx. With a SharpMask checkpoint their masks are
    the refined ones; coarse_trunk.onnx and coarse_mask.onnx then take their place under --coarse.

    A checkpoint's export ends by comparing ONNX Runtime with PyTorch on pictures of four sizes:
    features, the score of every location, and masks. The figures are printed and kept in
    model.json. Above a relative deviation of 1e-4 the export fails and writes nothing. A lower
    --precision is then compared with the fp32 graphs: logits, and how many of their best 100
    proposals it finds again; below 95 % for fp16 and 85 % for int8 it warns.

    Exit code 0: written; 1: the export failed; 2: wrong use; 130 or 143: stopped by Ctrl-C or
    SIGTERM.

    \b
    Examples:
      deepmask-export runs/x/best.pt
      deepmask-export runs/x/best.pt --validation val.json --validation-images val/
      deepmask-export runs/x/best.pt --weights fp16 --out models/small
      deepmask-export runs/x/best.pt --precision int8 --calibration photographs/
      deepmask-export runs/x/best.pt --precision fp16 --build-engine
      deepmask-export models/x --precision int8 --calibration photographs/
      deepmask-trt-run --model models/small photograph.jpg
    """
    if given["scales"] is not None:
        given["scales"] = parse_scales(given["scales"])
    find_source(checkpoint)  # what is missing is told before libraries that take seconds to load
    chosen = {item.name for item in fields(ExportOptions)}
    for name in ("engine", "target", "max_size", "cache"):
        if given[name] and not given["build_engine"]:
            flag = f"--{name.replace('_', '-')}"
            raise ExportUsageError(f"{flag} is for --build-engine: add that, or leave it out")
    for library in EXTRA:  # one that is missing is told before any work
        import_module(library)
    from deepmask.export.plans import PlanOptions
    from deepmask.export.request import ExportRequest, export

    options = ExportOptions(**{name: given[name] for name in chosen})
    plans = None
    if given["build_engine"]:
        engine, size = given["engine"] or "auto", given["max_size"] or 0
        plans = PlanOptions(engine, given["target"], size, given["cache"])
    request = ExportRequest(checkpoint, given["out"], options, plans, given["triton"])
    with progress_bar() as show:
        export(request, say, show)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-export`."""
    run_command(command, "deepmask-export", "export", arguments)


if __name__ == "__main__":
    main()
