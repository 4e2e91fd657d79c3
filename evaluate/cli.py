"""`deepmask-eval`: average recall as the papers measure it, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from deepmask.coco.values import FORMATS
from deepmask.evaluate.request import Evaluation, Request
from deepmask.runtime.cli.main import Group, Interrupted, one_interrupt, run_command
from deepmask.runtime.cli.messages import say, say_aside
from deepmask.runtime.cli.options import (
    OUTPUT_FOLDER,
    cache_option,
    coarse_option,
    device_option,
    engine_option,
    labels_are_option,
    model_option,
    overlap_option,
    parse_scales,
    scales_option,
    tf32_option,
    threshold_option,
    zoom_option,
)
from deepmask.runtime.cli.progress import progress_bar
from deepmask.runtime.errors import counted

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LABELS = click.Path(exists=True, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
#: Options that only make sense when a model makes the proposals.
_MODEL_OPTIONS = (
    *("model", "engine", "device", "tf32", "cache"),
    *("scales", "threshold", "overlap", "zoom", "coarse", "max_side"),
)
#: Of these, what has no effect on boxes that are given.
_PROPOSING_OPTIONS = ("scales", "threshold", "overlap", "zoom", "coarse")
#: Failed images that are named one by one.
_NAMED_FAILURES = 5


@click.group(cls=Group, invoke_without_command=True)
@click.option("--annotations", type=_LABELS, help=f"Objects of the images: {FORMATS}.")
@click.option("--images", type=_FOLDER, help="Folder of the images that the annotations name.")
@labels_are_option
@click.option(
    "--categories",
    default="",
    metavar="NAMES",
    help="Measure the objects of these categories only: ids or names between commas, voc for "
    "PASCAL's 20, or all but these, as in 'not voc'. Others are as if nobody had labelled them.",
)
@click.option(
    "--voc",
    type=_FOLDER,
    help="PASCAL VOC 2007 folder to measure on instead of --annotations; boxes only.",
)
@click.option("--proposals-json", type=_FILE, help="Measure these COCO results; run no model.")
@model_option
@engine_option
@device_option
@tf32_option
@cache_option
@click.option(
    "--proposals",
    type=click.IntRange(1, 1000),
    default=1000,
    show_default=True,
    help="Maximum number of proposals per image that count.",
)
@scales_option
@threshold_option
@overlap_option
@zoom_option
@coarse_option
@click.option(
    "--max-side",
    type=click.IntRange(1),
    help="Search a larger image as if its longer side had this many pixels.  "
    "[default: the model's]",
)
@click.option(
    "--boxes-json",
    type=_FILE,
    help="Let the model name these boxes, COCO results of any source, not its own proposals.",
)
@click.option(
    "--out",
    type=OUTPUT_FOLDER,
    help="Folder to write records, metrics, table, figures and pictures to.",
)
@click.option("--name", help="Name of this run in tables.  [default: the model's or file's name]")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Measure only the first N images."
)
@click.option("--shard", metavar="i/n", help="Measure only part i of n; `merge` joins the parts.")
@click.option("--resume", is_flag=True, help="Continue the interrupted run in --out.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Measure object proposals as the DeepMask paper does.

    Runs a model over labelled images, or takes proposals that anything made, and reports
    class-agnostic average recall (AR) of masks and boxes at 10, 100 and 1000 proposals, the area
    under the recall curve (AUC), both by object size, recall at IoU 0.5 and 0.7, all with 95 %
    intervals. Crowds are ignored, as COCO does. Where the proposals have categories, it reports
    average precision (AP) of names too, as COCO and PASCAL VOC measure it.

    \b
      deepmask-eval --annotations val.json --images val/ --out runs/ours
      deepmask-eval --annotations val.json --proposals-json mcg.json --out runs/mcg
      deepmask-eval compare runs/ours runs/mcg --out runs/both
      deepmask-eval --voc VOC2007/ --out runs/voc

    On several machines or cores, give each a --shard and an --out of its own, then join the parts:

    \b
      deepmask-eval --annotations val.json --images val/ --shard 1/2 --out part1
      deepmask-eval --annotations val.json --images val/ --shard 2/2 --out part2
      deepmask-eval merge part1 part2 --out whole

    Exit code 0: all images are measured; 1: some image failed, the others are measured; 2: wrong
    use; 130 or 143: stopped by Ctrl-C or SIGTERM, what was done is in --out.
    """
    typed = ParameterSource.COMMANDLINE
    given = [name for name in options if context.get_parameter_source(name) is typed]
    if context.invoked_subcommand is not None:
        if given:
            flag = given[0].replace("_", "-")
            raise click.UsageError(f"--{flag} does not go with {context.invoked_subcommand}")
        return 0
    if not given:
        click.echo(context.get_help())
        return 0
    request = _request(options, given)
    from deepmask.evaluate.evaluator import evaluate

    with one_interrupt():
        with progress_bar() as show:
            result = evaluate(request, say_aside, show)
        return _tell(result)


@command.command(short_help="Compare several runs.")
@click.argument("runs", nargs=-1, required=True, type=_FOLDER, metavar="RUN...")
@click.option("--out", type=OUTPUT_FOLDER, help="Folder to write the table and the figure to.")
def compare(runs: tuple[Path, ...], out: Path | None) -> None:
    """Compare evaluations of the same objects in one table and one figure.

    Each RUN is an --out folder of deepmask-eval. The table has each run with its 95 % interval,
    then each run's difference from the first, with the interval of that difference over the same
    images, which is what tells two methods apart.
    """
    if len(runs) < 2:
        raise click.UsageError("compare needs two runs or more")
    from deepmask.evaluate.compare import compare as compare_runs
    from deepmask.evaluate.compare import describe, write_comparison
    from deepmask.evaluate.figures import draw_comparison
    from deepmask.evaluate.folder import require_comparison_folder

    if out is not None:
        require_comparison_folder(out, runs)
    comparison = compare_runs(runs)
    say(describe(comparison))
    if out is not None:
        write_comparison(out, comparison)
        draw_comparison(out, comparison.runs)
        say(f"wrote comparison.json, table.txt and comparison.png, .svg in {out}")


@command.command(short_help="Join the shards of one run.")
@click.argument("parts", nargs=-1, required=True, type=_FOLDER, metavar="PART...")
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="Folder of the whole evaluation.")
def merge(parts: tuple[Path, ...], out: Path) -> None:
    """Join the shards of one evaluation into a whole one, with its report.

    Each PART is the --out folder of one --shard.
    """
    from deepmask.evaluate.evaluator import write_report
    from deepmask.evaluate.merge import merge as merge_parts

    merge_parts(parts, out)
    _tell_metrics(write_report(out), out)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-eval`."""
    run_command(command, "deepmask-eval", "eval", arguments)


def _request(options: dict[str, Any], given: list[str]) -> Request:
    """Raises `click.UsageError` or `EvalUsageError` for options that do not go together."""
    scales = None if options["scales"] is None else parse_scales(options["scales"])
    request = Request(**{**options, "scales": scales, "shard": _shard(options["shard"])})
    useless = [name for name in given if name in _MODEL_OPTIONS]
    if request.proposals_json is not None and useless:
        flag = useless[0].replace("_", "-")
        raise click.UsageError(f"--{flag} has no effect on --proposals-json: leave it")
    useless = [name for name in given if name in _PROPOSING_OPTIONS]
    if request.boxes_json is not None and useless:
        raise click.UsageError(f"--{useless[0]} has no effect on --boxes-json: leave it")
    return request


def _shard(text: str | None) -> tuple[int, int]:
    """Return 2/8 as (2, 8), and the whole, (1, 1), where nothing is given."""
    if text is None:
        return 1, 1
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) < 10**6):
        raise click.UsageError(f"--shard {text}: expected i/n with i from 1 to n, as in 2/8")
    return int(index), int(count)


def _tell(result: Evaluation) -> int:
    """Print what was measured and what was not; return the exit code."""
    if result.metrics is not None:
        _tell_metrics(result.metrics, result.folder)
    for line in result.failures[:_NAMED_FAILURES]:
        click.echo(f"Error: {line}", err=True)
    if len(result.failures) > _NAMED_FAILURES:
        more = len(result.failures) - _NAMED_FAILURES
        click.echo(f"Error: {counted(more, 'more images')} failed", err=True)
    if result.interrupted:
        advice = "" if result.folder is None else "; the same command with --resume continues"
        raise Interrupted(
            f"interrupted, {result.measured} of {counted(result.images, 'images')} done{advice}"
        )
    return 1 if result.failures else 0


def _tell_metrics(metrics: dict[str, Any], folder: Path | None) -> None:
    from deepmask.evaluate.folder import SHEET_NAME
    from deepmask.evaluate.report import describe

    say(describe(metrics))
    if folder is not None:
        has_sheet = (folder / SHEET_NAME).exists()
        what = ", figures and contact sheet" if has_sheet else " and figures"
        say(f"wrote metrics.json, table.txt{what} in {folder}")
