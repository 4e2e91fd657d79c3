"""`deepmask-train`: train a DeepMask on COCO-style annotations."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmask.train.config import MODEL_PRESETS, ConfigError, ModelConfig
from deepmask.train.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    from deepmask.train.annotations import AnnotatedSet
    from deepmask.train.batches import Batch

VALIDATION_BATCH = 32
VALIDATION_SEED = 0
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class _Number(click.FloatRange):
    """A range that NaN is outside of."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


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
    "fetch torchvision's own, or 'random' to start from nothing. Required unless --resume.",
)
@click.option("--out", type=FOLDER, help="Folder for last.pt and log.csv.")
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
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads that make batches.")
@click.option(
    "--cache-gb",
    type=_Number(0, 1e6),
    default=4.0,
    help="Memory for decoded images and masks, in GB.",
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
    "--save-seconds",
    type=_Number(0, 1e9),
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

    The run folder receives last.pt (the checkpoint that deepmask-export reads) and log.csv.
    Ctrl-C saves and stops; --resume goes on to the same weights as if nothing had happened, bit
    for bit on a CPU with the same number of threads.
    """
    try:
        code = _check(options) if options["check_data"] else _train(options)
    except ImportError as error:
        raise _failure(f"{error}: install it with  pip install 'deepmask[train]'") from error
    raise SystemExit(code)


def _check(options: dict[str, Any]) -> int:
    """List the problems of every annotation file given; 1 if there are any."""
    from deepmask.train.check import check_pictures

    count = 0
    for file, images in _sources(options):
        found = _read(file, images)
        problems = [*found.problems, *check_pictures(found)]
        for problem in problems:
            click.echo(f"{file}: {problem}")
        crowds = sum(item.crowd for item in found.instances)
        click.echo(
            f"{file}: {len(found.images)} images, {len(found.instances)} usable annotations "
            f"({crowds} crowds), {len(problems)} problems"
        )
        count += len(problems)
    return 1 if count else 0


def _train(options: dict[str, Any]) -> int:
    """Set everything up, train, say how it ended; returns the exit code."""
    recipe = _recipe(options)
    if options["out"] is None:
        raise click.UsageError("--out is missing: the folder for checkpoints and log")
    if not options["resume"] and options["init"] is None:
        raise click.UsageError(
            "--init is missing: a torchvision weights file, 'imagenet' to fetch one, "
            "or 'random' to start from nothing"
        )
    from deepmask.train.annotations import DataError
    from deepmask.train.batches import BatchMaker
    from deepmask.train.checkpoint import CheckpointError, load_checkpoint
    from deepmask.train.crops import Cropper
    from deepmask.train.device import choose_hardware
    from deepmask.train.initialise import InitialiseError, initialise_trunk, read_weights
    from deepmask.train.loop import LAST, Schedule, Trainer, train
    from deepmask.train.model import DeepMask
    from deepmask.train.sampling import Sampler

    out: Path = options["out"]
    if (out / LAST).exists() and not options["resume"]:
        raise click.UsageError(
            f"{out / LAST} exists: continue with --resume, or choose another --out"
        )
    import torch

    try:
        hardware = choose_hardware(options["device"], options["precision"])
    except (ValueError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    torch.manual_seed(options["seed"])
    config = MODEL_PRESETS[options["preset"]]
    model = DeepMask(config)
    try:
        (labelled, *partly), validation = _sets(options)
        sampler = Sampler(labelled, partly, config, recipe)
        cropper = Cropper(int(options["cache_gb"] * 1e9))
        make_batch = BatchMaker(sampler, cropper, config, recipe, options["seed"])
        checks = []
        if validation is not None:
            checks = _validation_batches(validation, config, recipe, options["val_patches"])
        if not options["resume"] and options["init"] != "random":
            initialise_trunk(model.trunk, read_weights(options["init"], config.trunk))
        trainer = Trainer(model, recipe, options["seed"], hardware)
        if options["resume"]:
            trainer.resume(load_checkpoint(out / LAST))
        out.mkdir(parents=True, exist_ok=True)
        parameters = sum(p.numel() for p in model.parameters())
        click.echo(
            f"{options['preset']}: {parameters / 1e6:.1f} M parameters on {hardware}; "
            f"{len(labelled.images)} labelled images, {len(labelled.instances)} objects; "
            f"steps {trainer.step} to {recipe.steps}"
        )
        schedule = Schedule(
            options["log_every"], options["validate_every"], options["save_seconds"]
        )
        stopped = train(trainer, make_batch, checks, out, options["threads"], schedule)
    except (
        CheckpointError,
        DataError,
        FloatingPointError,
        InitialiseError,
        OSError,
        ValueError,
    ) as error:
        raise _failure(str(error)) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _failure(
            f"not enough memory, lower --batch or --cache-gb, then --resume: {error}"
        ) from error
    if stopped:
        name = signal.Signals(stopped).name
        click.echo(f"{name}: saved {out / LAST} at step {trainer.step}; continue with --resume")
        return 128 + stopped
    click.echo(f"trained {recipe.steps} steps: {out / LAST}")
    return 0


def _recipe(options: dict[str, Any]) -> Recipe:
    changes = {f.name: options[f.name] for f in fields(Recipe) if options[f.name] is not None}
    try:
        return replace(RECIPES[options["preset"]], **changes)
    except (ConfigError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _sources(options: dict[str, Any]) -> list[tuple[Path, Path]]:
    """Every (annotations, images) pair given: training, masks only, validation."""
    sources = [(options["train_annotations"], options["train_images"])]
    folder = options["mask_images"] or options["train_images"]
    sources += [(path, folder) for path in options["mask_annotations"]]
    if (options["val_annotations"] is None) != (options["val_images"] is None):
        raise click.UsageError("--val-annotations and --val-images belong together")
    if options["val_annotations"] is not None:
        sources.append((options["val_annotations"], options["val_images"]))
    return sources


def _sets(options: dict[str, Any]) -> tuple[list[AnnotatedSet], AnnotatedSet | None]:
    """The training sets, fully labelled first, and the validation set if one was given."""
    sources = _sources(options)
    sets = [_read(*source) for source in sources]
    for (file, _), found in zip(sources, sets, strict=True):
        if found.problems:
            click.echo(
                f"{file}: {len(found.problems)} bad entries left out, the first: "
                f"{found.problems[0]}; list all with --check-data",
                err=True,
            )
    validation = sets.pop() if options["val_annotations"] is not None else None
    return sets, validation


def _read(annotations: Path, images: Path) -> AnnotatedSet:
    from deepmask.train.annotations import DataError, read_annotations

    try:
        return read_annotations(annotations, images)
    except DataError as error:
        raise _failure(str(error)) from error


def _validation_batches(
    validation: AnnotatedSet, config: ModelConfig, recipe: Recipe, count: int
) -> list[Batch]:
    """The fixed validation patches: `count` objects, as many negatives, no colour change."""
    import numpy as np

    from deepmask.train.batches import BatchMaker
    from deepmask.train.crops import Cropper
    from deepmask.train.sampling import Sampler

    plain = replace(recipe, brightness=0.0, contrast=0.0, saturation=0.0)
    sampler = Sampler(validation, [], config, plain)
    maker = BatchMaker(sampler, Cropper(int(1e9)), config, plain, VALIDATION_SEED)
    rng = np.random.default_rng(VALIDATION_SEED)
    sizes = [min(VALIDATION_BATCH, count - done) for done in range(0, count, VALIDATION_BATCH)]
    return [
        maker.cut(sampler.score_positives(size, rng), sampler.negatives(size, rng), rng)
        for size in sizes
    ]


def _failure(text: str) -> click.ClickException:
    return click.ClickException(" ".join(text.split()))
