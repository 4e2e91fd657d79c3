"""`deepmask-eval`: average recall as the papers measure it, from the command line."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from deepmask.runtime.cli.options import (
    cache_option,
    coarse_option,
    device_option,
    engine_option,
    overlap_option,
    parse_scales,
    scales_option,
    threshold_option,
    zoom_option,
)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
#: Options that only make sense when a model makes the proposals.
_MODEL_OPTIONS = (
    *("model", "engine", "device", "cache"),
    *("scales", "threshold", "overlap", "zoom", "coarse"),
)


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--annotations", type=_FILE, help="Objects of the images: COCO instances JSON.")
@click.option("--images", type=_FOLDER, help="Folder of the images that the annotations name.")
@click.option("--voc", type=_FOLDER, help="A PASCAL VOC 2007 folder instead; boxes only.")
@click.option("--proposals-json", type=_FILE, help="Measure these COCO results; run no model.")
@click.option("--model", type=_FOLDER, help="Model folder.  [default: the shipped one]")
@engine_option
@device_option
@cache_option
@click.option(
    "--proposals",
    type=click.IntRange(1, 1000),
    default=1000,
    show_default=True,
    help="Most proposals of an image that count.",
)
@scales_option
@threshold_option
@overlap_option
@zoom_option
@coarse_option
@click.option(
    "--out", type=_NEW_FOLDER, help="Keep records, metrics, table, figures and pictures here."
)
@click.option("--name", help="What tables call this run.  [default: the model's or file's name]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N images.")
@click.option("--shard", metavar="i/n", help="Only part i of n; `merge` joins the parts.")
@click.option("--resume", is_flag=True, help="Continue the interrupted run in --out.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Measure object proposals as the DeepMask paper does.

    Runs a model over labelled images, or takes proposals that anything made, and reports
    class-agnostic average recall (AR) of masks and boxes at 10, 100 and 1000 proposals, the area
    under the recall curve (AUC), both by object size, recall at IoU 0.5 and 0.7, all with 95 %
    intervals. Crowds are ignored, as COCO does.

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

    Exit code 0: all done; 1: some image failed, the others are measured; 2: wrong use; 130: stopped
    by Ctrl-C, what was done is in --out.
    """
    given = [
        name
        for name in options
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if context.invoked_subcommand is not None:
        if given:
            flag = given[0].replace("_", "-")
            raise click.UsageError(f"--{flag} does not go with {context.invoked_subcommand}")
        return
    if not given:
        click.echo(context.get_help())
        return
    shard = _shard(options["shard"])
    _check(options, given)
    scales = None
    if options["scales"] is not None:
        scales = parse_scales(options["scales"])
    from deepmask.evaluate.evaluator import Request, run_evaluation

    context.exit(run_evaluation(Request(**{**options, "scales": scales, "shard": shard})))


@command.command(short_help="Hold several runs against each other.")
@click.argument("runs", nargs=-1, required=True, type=_FOLDER, metavar="RUN...")
@click.option("--out", type=_NEW_FOLDER, help="Keep the table and the figure here.")
def compare(runs: tuple[Path, ...], out: Path | None) -> None:
    """Hold evaluations of the same objects against each other: one table, one figure.

    Each RUN is an --out folder of deepmask-eval. The table has each run with its 95 % interval,
    then each run's difference from the first, with the interval of that difference over the same
    images, which is what tells two methods apart.
    """
    if len(runs) < 2:
        raise click.UsageError("compare needs two runs or more")
    from deepmask.evaluate.compare import compare as compare_runs
    from deepmask.evaluate.compare import describe, write_comparison
    from deepmask.evaluate.figures import draw_comparison

    comparison = compare_runs(runs)
    click.echo(describe(comparison))
    if out is not None:
        write_comparison(out, comparison)
        draw_comparison(out, comparison.runs)
        click.echo(f"wrote comparison.json, table.txt and comparison.png, .svg in {out}")


@command.command(short_help="Join the shards of one run.")
@click.argument("parts", nargs=-1, required=True, type=_FOLDER, metavar="PART...")
@click.option("--out", type=_NEW_FOLDER, required=True, help="Folder of the whole evaluation.")
def merge(parts: tuple[Path, ...], out: Path) -> None:
    """Join the shards of one evaluation into a whole one, with its report.

    Each PART is the --out folder of one --shard.
    """
    from deepmask.evaluate.evaluator import report
    from deepmask.evaluate.merge import merge as merge_parts

    merge_parts(parts, out)
    report(out)


def main() -> None:
    """Run the command; whatever the user got wrong is told in one line."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = command.main(standalone_mode=False)
    except click.UsageError as error:
        _fail(f"{error.format_message()} (deepmask-eval --help explains)", 2)
    except click.Abort:
        _fail("interrupted, nothing was written", 130)
    except Exception as error:
        known = _exit_code(error)
        if known is None:
            raise
        _fail(str(error), known)
    sys.exit(code if isinstance(code, int) else 0)


def _check(options: dict[str, Any], given: list[str]) -> None:
    """Raise `click.UsageError` for options that do not go together."""
    if options["annotations"] is not None and options["voc"] is not None:
        raise click.UsageError("--annotations and --voc exclude each other")
    if options["annotations"] is None and options["voc"] is None:
        raise click.UsageError("--annotations (or --voc) is missing: what are the objects?")
    if options["proposals_json"] is not None:
        useless = [name for name in given if name in _MODEL_OPTIONS]
        if useless:
            raise click.UsageError(f"--{useless[0]} has no effect on --proposals-json: leave it")
    elif options["images"] is None and options["voc"] is None:
        raise click.UsageError(
            "--images is missing: the folder of images to run the model on "
            "(or give --proposals-json)"
        )
    for name in ("resume", "shard"):
        if options[name] and options["out"] is None:
            raise click.UsageError(f"--{name} needs --out, the folder that holds the records")


def _shard(text: str | None) -> tuple[int, int]:
    """2/8 as (2, 8); the whole where nothing is given. Raises `click.UsageError`."""
    if text is None:
        return 1, 1
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) < 10**6):
        raise click.UsageError(f"--shard {text}: expected i/n with i from 1 to n, as in 2/8")
    return int(index), int(count)


def _exit_code(error: Exception) -> int | None:
    """The exit code for an error that a user can cause; None for a fault of the program."""
    from deepmask.evaluate.errors import EvalError
    from deepmask.runtime.engines.base import EngineError
    from deepmask.runtime.model.manifest import ModelFolderError

    if isinstance(error, ModelFolderError | EngineError):
        return 2
    return 1 if isinstance(error, EvalError | OSError) else None


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
