"""`deepmask-train`: train a DeepMask on COCO-style annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from deepmask.networks.config import MODEL_PRESETS, ConfigError
from deepmask.networks.patches.recipe import RECIPES, Recipe
from deepmask.runtime.cli.options import Number

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
#: Settings of the recipe that a refinement, the second stage of training, has no use for.
FIRST_STAGE = ("negatives", "alternate", "score_weight", "trunk_lr", "freeze_stem", "score_partly")


def _recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of `Recipe`; not given means the preset's value."""
    for item in reversed(fields(Recipe)):
        name = item.name.replace("_", "-")
        kind: Any = type(item.default)
        flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
        add = click.option(
            flag, item.name, default=None, type=kind, help=f"{item.metadata['help']}"
        )
        command = add(command)
    return command


@click.command(
    context_settings={"show_default": True, "max_content_width": 100},
    epilog="Values of each preset: train/recipe.py. Exit code 0: trained; 1: failed; 2: wrong use; "
    "130 or 143: stopped by Ctrl-C or SIGTERM, continue with --resume.",
)
@click.option(
    "--preset",
    type=click.Choice(list(MODEL_PRESETS)),
    default="deepmask-r18",
    help="Network and recipe to start from.",
)
@click.option(
    "--train-annotations",
    type=FILE,
    required=True,
    help="COCO instances JSON in which every object is labelled.",
)
@click.option("--train-images", type=FOLDER, required=True, help="Folder of the training images.")
@click.option(
    "--mask-annotations",
    type=FILE,
    multiple=True,
    help="COCO JSON of images in which only some objects are labelled: positives for the mask "
    "branch only. May be given several times.",
)
@click.option(
    "--mask-images", type=FOLDER, help="Folder of their images.  [default: the training images']"
)
@click.option("--val-annotations", type=FILE, help="COCO JSON for validation on fixed patches.")
@click.option("--val-images", type=FOLDER, help="Folder of the validation images.")
@click.option(
    "--init",
    help="ImageNet weights for the trunk: a file with torchvision's names, or 'imagenet' to "
    "fetch torchvision's own, or 'random' to start from nothing. Required unless --resume or "
    "--from.",
)
@click.option(
    "--from",
    "base",
    type=FILE,
    help="Checkpoint of the network that a sharpmask preset refines; nothing of it is changed. "
    "Required for these presets, unless --resume.",
)
@click.option("--out", type=FOLDER, help="Folder for last.pt, best.pt and log.csv.")
@click.option("--resume", is_flag=True, help="Continue the run in --out exactly where it stopped.")
@click.option(
    "--check-data", is_flag=True, help="List every bad annotation and image, train nothing."
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
    help="Compile the trunk by torch.compile, which needs a C++ compiler on a CPU and Triton on a "
    "GPU: a slower first step, then faster ones. Rounding may differ.",
)
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads that make batches.")
@click.option(
    "--cache-gb",
    type=Number(0, 1e6),
    default=4.0,
    help="Memory for decoded images and masks, in GB; each process of several has its own.",
)
@click.option(
    "--crops",
    type=click.Choice(["host", "device"]),
    default="host",
    help="Where patches are cut: by the CPU, or by the GPU with every picture in its memory, 4 "
    "bytes a pixel. Batches differ by rounding.",
)
@click.option("--log-every", type=click.IntRange(1), default=50, help="Steps between log rows.")
@click.option(
    "--validate-every", type=click.IntRange(1), default=500, help="Steps between validations."
)
@click.option(
    "--val-patches",
    type=click.IntRange(1),
    default=512,
    help="Objects, and as many negatives, that validation looks at.",
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
    "--save-seconds",
    type=Number(0, 1e9),
    default=600.0,
    help="Seconds between checkpoints.",
)
@_recipe_options
def main(**options: Any) -> None:
    """Train the patch network of DeepMask on COCO-style annotations of any categories.

    \b
    deepmask-train --preset deepmask-r18 \\
        --train-annotations instances_train.json --train-images train/ \\
        --val-annotations instances_val.json --val-images val/ \\
        --init resnet18.pth --out runs/first

    The run folder receives log.csv, last.pt and best.pt, the checkpoint of the highest mask AR@100
    on whole validation images; deepmask-export reads either. Ctrl-C saves and stops; --resume goes
    on to the same weights as if nothing had happened, bit for bit on a CPU with the same number of
    threads.

    A sharpmask preset learns to sharpen the masks of a network trained before, of which nothing
    changes; what it writes has both, the coarse masks and the sharp ones:

    \b
    deepmask-train --preset sharpmask-r18 --from runs/first/best.pt --out runs/sharp \\
        --train-annotations instances_train.json --train-images train/

    Several GPUs, or several machines, train one model as torchrun starts them; --batch is shared
    out among the processes, and losses and updates are those of one process with the whole batch:

    \b
    torchrun --nproc-per-node 4 -m deepmask.train.cli --preset deepmask-vgg-a ...
    """
    recipe = _recipe(options)
    _check_use(options, recipe)
    try:
        from deepmask.train.run import Request, check_data, run_training
    except ImportError as error:
        raise click.ClickException(
            f"{error}: install it with  pip install 'deepmask[train]'"
        ) from error
    request = Request(recipe=recipe, **options)
    raise SystemExit(
        check_data(request) if request.check_data else run_training(request, options["out"])
    )


def _check_use(options: dict[str, Any], recipe: Recipe) -> None:
    """Raise `click.UsageError` for options that are missing or do not go together."""
    if (options["val_annotations"] is None) != (options["val_images"] is None):
        raise click.UsageError("--val-annotations and --val-images belong together")
    if options["check_data"]:
        return
    if options["out"] is None:
        raise click.UsageError("--out is missing: the folder for checkpoints and log")
    if MODEL_PRESETS[options["preset"]].refined:
        _check_refining(options, recipe)
        return
    if options["base"] is not None:
        raise click.UsageError(
            f"--from is for the presets that refine a network, and {options['preset']} is none: "
            "leave it out"
        )
    if not recipe.negatives:
        raise click.UsageError(f"--negatives is 0: the score of {options['preset']} needs some")
    if not options["resume"] and options["init"] is None:
        raise click.UsageError(
            "--init is missing: a torchvision weights file, 'imagenet' to fetch one, "
            "or 'random' to start from nothing"
        )


def _check_refining(options: dict[str, Any], recipe: Recipe) -> None:
    """Raise `click.UsageError` for what does not go with a preset that refines a network."""
    preset = options["preset"]
    if options["init"] is not None:
        raise click.UsageError(
            f"--init is for presets that train a trunk, and {preset} keeps that of --from: "
            "leave it out"
        )
    for name in FIRST_STAGE:
        if getattr(recipe, name) != getattr(RECIPES[preset], name):
            raise click.UsageError(
                f"--{name.replace('_', '-')} has no effect on {preset}, which trains neither trunk "
                "nor score: leave it out"
            )
    if not options["resume"] and options["base"] is None:
        raise click.UsageError(
            f"--from is missing: the checkpoint of the network that {preset} refines"
        )


def _recipe(options: dict[str, Any]) -> Recipe:
    """The preset's recipe with what was given instead; takes its options out of `options`."""
    given = {item.name: options.pop(item.name) for item in fields(Recipe)}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        return replace(RECIPES[options["preset"]], **changes)
    except (ConfigError, ValueError) as error:
        raise click.UsageError(str(error)) from error


if __name__ == "__main__":
    main()
