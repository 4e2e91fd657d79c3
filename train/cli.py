"""`deepmask-train`: train a network on COCO-style annotations."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from deepmask.coco.values import FORMATS
from deepmask.networks.presets import PRESETS, STUDIED, USED
from deepmask.networks.recipe import Recipe
from deepmask.runtime.cli.main import run_command
from deepmask.runtime.cli.messages import is_quiet, say, warn
from deepmask.runtime.cli.options import OUTPUT_FOLDER, Number, Output, labels_are_option
from deepmask.train.cli_options import DEFAULT_PRESET, TrainCommand, known_preset

if TYPE_CHECKING:
    from deepmask.train.data import DataFiles

FILE = click.Path(path_type=Path, dir_okay=False)
LABELS = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)


def _show_preset(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(PRESETS[known_preset(ctx, param, name)].table())
        ctx.exit()


@click.command(
    cls=TrainCommand,
    context_settings={"show_default": True},
    epilog=f"Presets to use: {', '.join(USED)}. Rows of the thesis' tables: {', '.join(STUDIED)}. "
    "The settings of a recipe, from --steps on, are those of --preset with its own values: "
    "--preset NAME --help lists them, --show-preset NAME prints the values of network and recipe. "
    "Exit code 0: trained; 1: failed; 2: wrong use; 130 or 143: stopped by Ctrl-C or SIGTERM, "
    "continue with --resume.",
)
@click.option(
    "--preset",
    callback=known_preset,
    metavar="NAME",
    default=DEFAULT_PRESET,
    help="Network and recipe to start from; they are listed at the end.",
)
@click.option(
    "--show-preset",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_show_preset,
    help="Print the network and recipe of a preset as a table, and exit.",
)
@click.option(
    "--train-annotations",
    type=LABELS,
    required=True,
    help=f"Labels of every object: {FORMATS}.",
)
@click.option("--train-images", type=FOLDER, required=True, help="Folder of the training images.")
@click.option(
    "--mask-annotations",
    type=LABELS,
    multiple=True,
    help="Labels of images in which only some objects are labelled: a DeepMask learns masks "
    "from them, not scores. May be given several times.",
)
@click.option(
    "--mask-images", type=FOLDER, help="Folder of their images.  [default: the training images']"
)
@click.option(
    "--proposals",
    type=FILE,
    help="COCO results of all training images, as deepmask-trt-run writes them: boxes that a "
    "fast-rcnn learns to name, in place of those that it would propose itself.",
)
@click.option("--val-annotations", type=LABELS, help="Labels to measure the network on.")
@click.option("--val-images", type=FOLDER, help="Folder of the validation images.")
@labels_are_option
@click.option(
    "--init",
    help="ImageNet weights for the trunk: 'imagenet' for the published ones, of an fpn-lite those "
    "of a package from pip, of others torchvision's, which are fetched; or a file of them; or "
    "'random' to start from nothing, as a network without a trunk does. Required unless --resume "
    "or --from.",
)
@click.option(
    "--from",
    "base",
    type=click.Path(path_type=Path),
    metavar="WHERE",
    help="Trained network of the same preset to go on from: a checkpoint, the folder of an "
    "exported model, or the name of a shipped one, fpn-lite. A sharpmask preset goes on from the "
    "deepmask that it refines, needs it unless --resume, and changes nothing of it.",
)
@click.option("--out", type=OUTPUT_FOLDER, help="Folder for last.pt, best.pt and log.csv.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Continue the run in the folder RUN, or --out, exactly where it stopped, with the options "
    "that it was started with unless others are given.",
)
@click.option(
    "--check-data",
    is_flag=True,
    help="List every bad annotation and image and count them, train nothing; exit code 1 if any is "
    "bad, or nothing can be learned.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what --check-data finds as JSON.")
@click.option(
    "--as-coco",
    type=Output(path_type=Path, dir_okay=False),
    help="Write the training labels that --check-data finds usable to this COCO JSON.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    help="Decides everything that is random.",
)
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32"]),
    default="auto",
    help="auto: bf16 where the hardware computes in it.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the network, of a DeepMask the trunk, by torch.compile, which needs a C++ "
    "compiler on a CPU and Triton on a GPU: a slower first step, then faster ones. Rounding may "
    "differ.",
)
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads that make batches.")
@click.option(
    "--cache-gb",
    type=Number(0, 1e6),
    default=4.0,
    help="Memory for decoded images and masks, in GB; each process of several has its own.",
)
@click.option("--log-every", type=click.IntRange(1), default=50, help="Steps between log rows.")
@click.option(
    "--validate-every", type=click.IntRange(1), default=500, help="Steps between validations."
)
@click.option(
    "--val-patches",
    "val_samples",
    type=click.IntRange(1),
    default=512,
    help="Objects that validation looks at; a DeepMask looks at as many negatives, too.",
)
@click.option(
    "--recall-every",
    type=click.IntRange(0),
    default=2000,
    help="Steps between measurements of average recall on whole validation images; 0: never.",
)
@click.option(
    "--recall-images",
    type=click.IntRange(1),
    default=20,
    help="Validation images that average recall is measured on.",
)
@click.option(
    "--save-seconds", type=Number(0, 1e9), default=600.0, help="Seconds between checkpoints."
)
def command(**options: Any) -> int:
    """Train a network on COCO-style annotations of any categories.

    \b
    deepmask-train --from fpn-lite --steps 1000 --lr 2e-4 --out runs/tuned \\
        --train-annotations instances_train.json --train-images train/ \\
        --val-annotations instances_val.json --val-images val/
    deepmask-train --resume runs/tuned

    --from goes on from a trained network, as the shipped one here; --init begins anew, from
    ImageNet weights.

    The run folder receives run.json with these options, log.csv, last.pt and best.pt, the
    checkpoint of the highest mask AR@100 on whole validation images; deepmask-export reads either.
    Ctrl-C saves and stops; --resume goes on to the same weights as if nothing had happened, bit for
    bit on a CPU with the same number of threads.

    A sharpmask preset learns to sharpen the masks of a network trained before, of which nothing
    changes; what it writes has both, the coarse masks and the sharp ones:

    \b
    deepmask-train --preset sharpmask-r18 --from runs/r18/best.pt --out runs/sharp \\
        --train-annotations instances_train.json --train-images train/

    Several GPUs, or several machines, train one model as torchrun starts them; --batch is shared
    out among the processes, and losses and updates are those of one process with the whole batch:

    \b
    torchrun --nproc-per-node 4 -m deepmask.train.cli --init imagenet ...
    """
    recipe = given_recipe(options)
    from deepmask.train.data import DataFiles
    from deepmask.train.loop import Schedule
    from deepmask.train.run import Request, train

    data = DataFiles(**{item.name: options.pop(item.name) for item in fields(DataFiles)})
    checked, as_json, as_coco = (options.pop(k) for k in ("check_data", "as_json", "as_coco"))
    if checked:
        return _check(data, options["preset"], recipe, as_json, as_coco)
    for flag, given in (("--json", as_json), ("--as-coco", as_coco)):
        if given:
            raise click.UsageError(f"{flag} belongs to --check-data: give both")
    resume = options["resume"]
    options["out"], options["resume"] = _run_folder(options["out"], resume), resume is not None
    if options["out"] is None:
        raise click.UsageError("--out is missing: the folder for checkpoints and log")
    schedule = Schedule(**{item.name: options.pop(item.name) for item in fields(Schedule)})
    request = Request(data=data, recipe=recipe, schedule=schedule, **options)
    result = train(request, say, warn, bar=sys.stderr.isatty() and not is_quiet())
    return 128 + result.stopped if result.stopped else 0


def _check(
    data: DataFiles, preset: str, recipe: Recipe, as_json: bool, as_coco: Path | None
) -> int:
    from deepmask.coco.writer import write_coco
    from deepmask.runtime.io.outputs import require_writable
    from deepmask.train.check import check_files, tell

    if as_coco is not None:
        labels = [source.labels for source in (*data.training(), *data.validation())]
        require_writable({"--as-coco": [as_coco]}, labels, force=None)
    checked = check_files(data, preset, recipe)
    tell(checked, say, as_json)
    if as_coco is not None:
        write_coco(as_coco, checked[0].found, data.train_images)
    return 0 if all(one.passes for one in checked) else 1


def _run_folder(out: Path | None, resume: str | None) -> Path | None:
    return Path(resume) if resume else out


def given_recipe(options: dict[str, Any]) -> Recipe:
    """Return the preset's recipe with what was given; takes its settings out of `options`.

    Raises `click.UsageError` for settings that cannot be trained with.
    """
    recipe = PRESETS[options["preset"]].recipe
    given: Mapping[str, Any] = {item.name: options.pop(item.name) for item in fields(recipe)}
    try:
        changed: Recipe = replace(recipe, **given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return changed


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `deepmask-train`."""
    run_command(command, "deepmask-train", "train", arguments)


if __name__ == "__main__":
    main()
