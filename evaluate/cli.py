"""`deepmask-eval`: average recall as the papers measure it, from the command line."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from deepmask.evaluate.annotations import GroundTruth
    from deepmask.evaluate.run import Source

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
#: Options that only make sense when a model makes the proposals.
_MODEL_OPTIONS = ("model", "engine", "device", "scales", "threshold", "zoom")


class _Shard(click.ParamType[tuple[int, int]]):
    name = "i/n"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Read 2/8 as (2, 8)."""
        if isinstance(value, tuple):
            return value
        index, _, count = str(value).partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            self.fail(f"{value!r} is not i/n with 1 <= i <= n, as in 2/8", param, ctx)
        return int(index), int(count)


@click.group(invoke_without_command=True, context_settings={"max_content_width": 100})
@click.option("--annotations", type=_FILE, help="Objects of the images, a COCO instances JSON.")
@click.option("--images", type=_FOLDER, help="Folder of the images that the annotations name.")
@click.option("--voc", type=_FOLDER, help="A PASCAL VOC 2007 folder instead: boxes only.")
@click.option("--proposals-json", type=_FILE, help="Measure these COCO results; run no model.")
@click.option("--model", type=_FOLDER, help="Exported model folder.  [default: the shipped one]")
@click.option(
    "--engine",
    type=click.Choice(["auto", "tensorrt", "tensorrt-rtx", "onnxruntime"]),
    default="auto",
    show_default=True,
    help="What runs the model.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where it runs.",
)
@click.option(
    "--proposals",
    type=click.IntRange(1, 1000),
    default=1000,
    show_default=True,
    help="Proposals to measure for each image.",
)
@click.option("--scales", metavar="FROM:TO:STEP", help="Pyramid scales, powers of two.")
@click.option("--threshold", type=click.FloatRange(0, 1, True, True), help="Mask threshold.")
@click.option("--zoom", is_flag=True, help="One more, larger scale (DeepMaskZoom).")
@click.option("--out", type=_NEW_FOLDER, help="Keep records, metrics, table and figures here.")
@click.option("--name", help="What to call this run in tables.  [default: the model or file]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N images.")
@click.option("--shard", type=_Shard(), help="Only part i of n; `merge` joins the parts.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run in --out.")
@click.pass_context
def main(ctx: click.Context, /, **options: Any) -> None:
    """Measure object proposals as the DeepMask paper does.

    Runs a model over a set of labelled images, or takes proposals that anything made, and reports
    class-agnostic average recall (AR) of masks and boxes at 10, 100 and 1000 proposals, the area
    under the recall curve (AUC), both by object size, recall at IoU 0.5 and 0.7, and 95 %
    intervals. Objects marked as crowd are ignored, as in COCO.

    \b
      deepmask-eval --annotations instances_val2017.json --images val2017 --out runs/ours
      deepmask-eval --annotations instances_val2017.json --proposals-json mcg.json --out runs/mcg
      deepmask-eval compare runs/ours runs/mcg --out runs/both
      deepmask-eval --voc VOC2007 --out runs/voc

    On several machines, run each with its own --shard and --out, then join the parts:

    \b
      deepmask-eval --annotations J.json --images DIR --shard 1/2 --out part1
      deepmask-eval --annotations J.json --images DIR --shard 2/2 --out part2
      deepmask-eval merge part1 part2 --out whole
    """
    if ctx.invoked_subcommand is not None:
        return
    if options["annotations"] is None and options["voc"] is None:
        if options["images"] is None and options["proposals_json"] is None:
            click.echo(ctx.get_help())
            ctx.exit(0)
        raise click.UsageError("--annotations (or --voc) is missing: what are the objects?")
    _check(ctx, options)
    with _plain_errors():
        ctx.exit(_run(options))


def _check(ctx: click.Context, options: dict[str, Any]) -> None:
    if options["annotations"] is not None and options["voc"] is not None:
        raise click.UsageError("--annotations and --voc exclude each other")
    if options["proposals_json"] is not None:
        given = [
            name
            for name in _MODEL_OPTIONS
            if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        if given:
            raise click.UsageError(f"--{given[0]} has no effect on --proposals-json: leave it out")
    elif options["images"] is None and options["voc"] is None:
        raise click.UsageError(
            "--images is missing: the folder of the images to run the model on "
            "(or give --proposals-json)"
        )
    for name in ("resume", "shard"):
        if options[name] and options["out"] is None:
            raise click.UsageError(f"--{name} needs --out: the folder that holds the records")


def _run(options: dict[str, Any]) -> int:
    """Measure, report; the exit code."""
    from deepmask.evaluate.annotations import read_coco
    from deepmask.evaluate.report import describe, measure, write_metrics
    from deepmask.evaluate.run import evaluate, open_folder, select

    truth = read_coco(options["annotations"])
    source, kinds, about = _source(options, truth)
    shard = options["shard"] or (1, 1)
    image_ids = select(truth, options["limit"], shard)
    run = {
        "name": options["name"] or about["default_name"],
        "dataset": truth.dataset,
        "annotations": {"name": truth.name, "sha256": truth.digest},
        "kinds": list(kinds),
        "limit": options["limit"],
        "shard": list(shard),
        "images": len(image_ids),
        "source": {key: value for key, value in about.items() if key != "default_name"},
    }
    with ExitStack() as stack:
        folder = options["out"]
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepmask-eval-")))
        done = open_folder(folder, run, options["resume"])
        todo = [image_id for image_id in image_ids if image_id not in done]
        outcome = evaluate(truth, source, kinds, folder, todo)
        for line in outcome.failed[:5]:
            click.echo(f"failed: {line}", err=True)
        if len(outcome.failed) > 5:
            click.echo(f"failed: {len(outcome.failed) - 5} more images", err=True)
        if outcome.done + len(done):
            metrics = measure(folder)
            write_metrics(folder, metrics)
            click.echo(describe(metrics))
    if outcome.interrupted:
        line = f"interrupted: {outcome.done + len(done)} of {len(image_ids)} images measured"
        if options["out"]:
            line += f"; the same command with --resume continues in {options['out']}"
        click.echo(line, err=True)
        return 130
    return 1 if outcome.failed else 0


def _source(
    options: dict[str, Any], truth: GroundTruth
) -> tuple[Source, tuple[str, ...], dict[str, Any]]:
    """Where the proposals come from, what can be measured with them, and how to describe them."""
    from deepmask.evaluate.sources import FileSource

    if options["proposals_json"] is not None:
        source = FileSource(options["proposals_json"], truth.pictures, options["proposals"])
        kinds = tuple(kind for kind in truth.kinds if kind == "bbox" or source.has_masks)
        missing = len(set(truth.pictures) - source.images())
        if missing:
            click.echo(
                f"note: {missing} of {len(truth.pictures)} images have no proposals in "
                f"{options['proposals_json']}; their objects count as missed",
                err=True,
            )
        return source, kinds, source.about()
    raise NotImplementedError


class _plain_errors:
    """Turns what a user can cause into one line and exit code 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        from deepmask.evaluate.errors import EvalError

        if isinstance(error, EvalError):
            raise click.ClickException(str(error)) from None
        if isinstance(error, ModuleNotFoundError) and error.name in (
            "pycocotools",
            "matplotlib",
            "tqdm",
        ):
            raise click.ClickException(
                f"{error.name} is not installed: pip install 'deepmask[eval]'"
            ) from None
