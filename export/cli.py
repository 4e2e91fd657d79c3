"""`deepmask-export`: a checkpoint becomes a model folder."""

from __future__ import annotations

import signal
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.core import ParameterSource

from deepmask.runtime.cli.options import IOU, PROBABILITY, Number, cache_option, parse_scales

if TYPE_CHECKING:
    from deepmask.export.plans import PlanBuilder

LONGEST_MESSAGE = 500
#: Libraries of the extra `export`.
EXTRA = ("torch", "onnx", "onnxscript", "onnxruntime")
#: Options that need a checkpoint.
_CHECKPOINTS = {
    **{"weights": "--weights", "scales": "--scales", "threshold": "--threshold"},
    **{"overlap": "--overlap", "scale_prior": "--scale-prior", "interleave": "--interleave"},
    **{"dense_mask": "--dense-mask", "scores_from": "--scores-from", "opset": "--opset"},
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("checkpoint", metavar="CHECKPOINT|MODEL", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The model folder to write; beside the checkpoint and named after it by default, with "
    "the precision added for a MODEL. An exported model that is there is replaced, anything else "
    "is not.",
)
@click.option("--name", help="The model's name in model.json.  [default: the source's]")
@click.option(
    "--weights",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="How weights are stored. fp16 halves the files; the arithmetic stays fp32.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8", "int8-symmetric"]),
    default="fp32",
    show_default=True,
    help="What the graphs compute in. int8 is the fastest form on a CPU; "
    "int8-symmetric is the one that TensorRT takes; fp16 is for GPUs. Inputs, outputs and the "
    "layers that rank stay fp32.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of photographs like those the model will see, some dozens: int8 measures its "
    "ranges on them, and needs it; ten are kept apart to compare with fp32 on. fp16 compares on "
    "them, or on drawn pictures without.",
)
@click.option(
    "--scales",
    metavar="FROM:TO:STEP",
    help="Pyramid scales the runtime uses by default, as powers of two.  "
    "[default: -2:1:0.5 for a 224 px model, -2.5:0.5:0.5 for 160 px, in proportion for others]",
)
@click.option(
    "--threshold",
    type=PROBABILITY,
    help="Mask probability above which the runtime counts a pixel as the object's.  "
    "[default: the network's own, 0.2 in the paper]",
)
@click.option(
    "--overlap",
    type=IOU,
    help="IoU with a better proposal above which the runtime ranks a near-duplicate lower; 1: "
    "never, as in the paper.  [default: the network's own]",
)
@click.option(
    "--scale-prior",
    type=Number(-10, 10),
    help="Logits that the runtime adds to a score for each octave its scale is below 1, so that "
    "parts rank below whole objects; 0: none, as in the paper.  [default: the network's own]",
)
@click.option(
    "--interleave",
    type=click.Choice(["dilated", "shifted"]),
    help="Form of a pooled score head: a stride-1 pool and dilated convolutions, or four shifted "
    "pools. Both give the same scores; one may be faster on your engine.  [default: dilated]",
)
@click.option(
    "--dense-mask",
    is_flag=True,
    help="Also write mask_dense.onnx, the masks of every location at once, for other tools: "
    "deepmask-trt-run does not use it.",
)
@click.option(
    "--scores-from",
    type=click.Path(path_type=Path),
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
    help="Also build TensorRT's plans of the model, which deepmask-trt-run would build on first "
    "use. The options below are for this one.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]),
    help="Which TensorRT builds.  [default: auto, the first that is installed]",
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
    help="The longest side of an image that the plans take without shrinking it, the largest "
    "--max-side of deepmask-trt-run.  [default: 1333]",
)
@cache_option
@click.option(
    "--triton",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also add the model to DIR, a model repository for NVIDIA Triton, as its next version.",
)
@click.pass_context
def command(
    context: click.Context,
    checkpoint: Path,
    out: Path | None,
    name: str | None,
    weights: str,
    precision: str,
    calibration: Path | None,
    scales: str | None,
    threshold: float | None,
    overlap: float | None,
    scale_prior: float | None,
    interleave: str | None,
    dense_mask: bool,
    scores_from: Path | None,
    opset: int,
    build_engine: bool,
    engine: str | None,
    target: tuple[str, ...],
    max_size: int | None,
    cache: Path | None,
    triton: Path | None,
) -> None:
    """Export CHECKPOINT, a .pt file of deepmask-train, as the model folder that deepmask-trt-run
    reads; or MODEL, such a folder in fp32, in a lower --precision.

    The folder holds trunk.onnx, score.onnx and mask.onnx, each complete in itself and readable by
    any ONNX tool, and model.json, which describes them, and the gray border that the trunk expects
    around a picture. With a SharpMask checkpoint their masks are the refined ones;
    coarse_trunk.onnx and coarse_mask.onnx then take their place under --coarse.

    A checkpoint's export ends by comparing ONNX Runtime with PyTorch on pictures of four sizes:
    features, the score of every location, and masks. The figures are printed and kept in
    model.json. Above a relative deviation of 1e-4 the export fails and writes nothing. A lower
    --precision is then compared with the fp32 graphs: logits, and how many of their best 100
    proposals it finds again; below 95 % for fp16 and 85 % for int8 it warns.

    \b
    Examples:
      deepmask-export runs/x/best.pt
      deepmask-export runs/x/best.pt --weights fp16 --out models/small
      deepmask-export runs/x/best.pt --precision int8 --calibration photographs/
      deepmask-export runs/x/best.pt --precision fp16 --build-engine
      deepmask-export models/x --precision int8 --calibration photographs/
      deepmask-trt-run --model models/small photograph.jpg
    """
    wanted = None if scales is None else parse_scales(scales)
    if not checkpoint.exists():  # told before libraries that take seconds to load
        _fail(f"{checkpoint}: no such checkpoint file, or folder of an exported model", 2)
    exported = checkpoint.is_dir()
    for key, option in _CHECKPOINTS.items() if exported else ():
        if context.get_parameter_source(key) is ParameterSource.COMMANDLINE:
            _fail(f"{option} is for a checkpoint: leave it out for an exported model", 2)
    given = {"--engine": engine, "--target": target, "--max-size": max_size, "--cache": cache}
    if not build_engine and (idle := [name for name, value in given.items() if value]):
        _fail(f"{idle[0]} is for --build-engine: add that, or leave it out", 2)
    if build_engine and precision == "int8":
        _fail("TensorRT takes no zero points: --build-engine needs --precision int8-symmetric", 2)
    _require_libraries()
    from deepmask.export.convert import convert_model
    from deepmask.export.errors import ExportError, ExportUsageError
    from deepmask.export.exporter import export_model
    from deepmask.export.options import ExportOptions
    from deepmask.export.plans import PlanBuilder, PlanOptions
    from deepmask.export.triton_repository import require_ours, servable_name, write_repository
    from deepmask.runtime.model.folder import load_manifest
    from deepmask.runtime.model.manifest import ModelFolderError
    from deepmask.train.checkpoint import CheckpointError

    options = ExportOptions(
        name=name,
        opset=opset,
        weights=weights,
        precision=precision,
        photographs=calibration,
        interleaving=interleave,
        dense_mask=dense_mask,
        scores_from=scores_from,
        scales=wanted,
        threshold=threshold,
        overlap=overlap,
        scale_prior=scale_prior,
    )
    out = out or _beside(checkpoint, precision)
    wanted_plans = PlanOptions(engine or "auto", target, max_size or 0, cache)
    try:
        builder = PlanBuilder(wanted_plans) if build_engine else None
        if triton is not None:
            known = load_manifest(checkpoint).name if exported else checkpoint.stem
            require_ours(triton, servable_name(name or known))
        if exported:
            convert_model(checkpoint, out, options, click.echo)
        else:
            export_model(checkpoint, out, options, click.echo)
        click.echo(f"wrote {out}")
        if triton is not None:
            click.echo(f"wrote {write_repository(out, triton)}")
        if builder is not None:
            _build(builder, out)
    except (ExportUsageError, CheckpointError, ModelFolderError) as error:
        _fail(str(error), 2)
    except (ExportError, OSError) as error:
        _fail(str(error), 1)


def _beside(source: Path, precision: str) -> Path:
    """Where the model goes if nobody says."""
    if source.is_file():
        return source.with_suffix("")
    named = source if source.name.strip(".") else source.resolve()
    if not named.name:
        _fail(f"{source} has no name to put beside it: give --out", 2)
    return named.with_name(f"{named.name}-{precision}")


def _build(builder: PlanBuilder, out: Path) -> None:
    try:
        builder.build(out, click.echo)
    except KeyboardInterrupt:
        _fail(f"interrupted; {out} is complete, and the plans that were done are kept", 130)


def _require_libraries() -> None:
    for library in EXTRA:
        try:
            import_module(library)
        except ModuleNotFoundError as error:
            _fail(f"{error.name} is not installed: pip install 'deepmask[export]'", 1)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    one_line = textwrap.shorten(message, LONGEST_MESSAGE, placeholder=" …")
    click.echo(f"Error: {one_line}", err=True)
    sys.exit(code)


def main() -> None:
    """Run the command; whatever the user got wrong is told in one line."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command.main(standalone_mode=False)
    except click.UsageError as error:
        _fail(f"{error.format_message()} (deepmask-export --help explains)", 2)
    except click.Abort:
        _fail("interrupted, nothing was written", 130)


if __name__ == "__main__":
    main()
