"""One training run from what the user asked for to the weights that come of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch

from deepmask.coco.categories import with_categories
from deepmask.coco.training_labels import AnnotatedSet, DataError, read_annotations
from deepmask.networks.config import MODEL_PRESETS, ModelConfig
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.batches import Batch, BatchMaker
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.device_crops import DeviceCropper
from deepmask.networks.patches.recipe import Recipe
from deepmask.networks.patches.sampling import Sampler
from deepmask.runtime.errors import one_line
from deepmask.train.check_data import check_pictures
from deepmask.train.checkpoint import CheckpointError, load_checkpoint
from deepmask.train.device import Hardware, choose_hardware
from deepmask.train.initialise import (
    InitialiseError,
    initialise_refined,
    initialise_trunk,
    read_weights,
)
from deepmask.train.loop import LAST, Schedule, train
from deepmask.train.parallel import PeerLostError, Team, join, local_device
from deepmask.train.provenance import changes, conditions
from deepmask.train.recall import recall_images
from deepmask.train.trainer import Trainer

VALIDATION_BATCH = 32
VALIDATION_SEED = 0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """The options of `deepmask-train`, checked; None where the user left the choice open."""

    preset: str
    recipe: Recipe
    train_annotations: Path
    train_images: Path
    mask_annotations: tuple[Path, ...]
    mask_images: Path | None
    val_annotations: Path | None
    val_images: Path | None
    init: str | None
    base: Path | None
    out: Path | None
    resume: bool
    check_data: bool
    seed: int
    device: str
    precision: str
    compiled: bool
    threads: int
    cache_gb: float
    crops: str
    log_every: int
    validate_every: int
    val_patches: int
    recall_every: int
    recall_images: int
    save_seconds: float


def check_data(request: Request) -> int:
    """List the problems of every annotation file given; 1 if there are any."""
    count = 0
    for file, images in _sources(request):
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


def run_training(request: Request, out: Path) -> int:
    """Set everything up, train, say how it ended; returns the exit code.

    Under `torchrun` each process calls this. Raises click's exceptions, whose text is one line.
    """
    if (out / LAST).exists() and not request.resume:
        raise click.UsageError(
            f"{out / LAST} exists: continue with --resume, or choose another --out"
        )
    try:
        hardware = choose_hardware(
            local_device(request.device), request.precision, request.compiled
        )
    except (ValueError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    try:
        with join(hardware.device) as team:
            return _run(request, out, hardware, team)
    except (
        CheckpointError,
        DataError,
        FloatingPointError,
        InitialiseError,
        OSError,
        PeerLostError,
        ValueError,
    ) as error:
        raise _failure(str(error)) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        other = "use --crops host" if request.crops == "device" else "lower --cache-gb"
        raise _failure(
            f"not enough memory, lower --batch or {other}, then --resume: {error}"
        ) from error
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise _failure(
            f"--compile failed, leave it out or mend what PyTorch names: {one_line(error)}"
        ) from error


def _run(request: Request, out: Path, hardware: Hardware, team: Team) -> int:
    """One process's part of a run; only the first of a team speaks."""
    say: Say = click.echo if team.leads else lambda line: None
    recipe, config = request.recipe, MODEL_PRESETS[request.preset]
    torch.manual_seed(request.seed)
    model = DeepMaskNetwork(config)
    sets, validation = _sets(request, team)
    labelled, *partly = with_categories(sets, recipe.categories)
    sampler = Sampler(labelled, partly, config, recipe)
    cropper = _cropper(request, [labelled, *partly], hardware)
    make_batch = BatchMaker(sampler, cropper, config, recipe, request.seed, team)
    patches, images = [], []
    if validation is not None and team.leads:
        patches = _validation_batches(validation, config, recipe, request.val_patches)
        images = recall_images(validation, request.recall_images) if request.recall_every else []
    if not request.resume:
        _initialise(model, request)
    files = [file for file, _ in _sources(request)[: 1 + len(request.mask_annotations)]]
    now = conditions(files, request.crops, hardware)
    trainer = Trainer(model, recipe, request.seed, hardware, team, now)
    if request.resume:
        checkpoint = load_checkpoint(out / LAST)
        trainer.resume(checkpoint)
        _say_what_changed(request, changes(checkpoint.training.get("conditions"), now), team)
    out.mkdir(parents=True, exist_ok=True)
    parameters = sum(p.numel() for p in model.parameters())
    processes = f"{team.size} processes, each on " if team.size > 1 else ""
    say(
        f"{request.preset}: {parameters / 1e6:.1f} M parameters on {processes}{hardware}; "
        f"{len(labelled.images)} labelled images, {len(labelled.instances)} objects; "
        f"steps {trainer.step} to {recipe.steps}"
    )
    schedule = Schedule(
        log_every=request.log_every,
        validate_every=request.validate_every,
        recall_every=request.recall_every,
        save_seconds=request.save_seconds,
    )
    stopped = train(trainer, make_batch, patches, out, request.threads, schedule, images)
    if stopped:
        name = signal.Signals(stopped).name
        say(f"{name}: saved {out / LAST} at step {trainer.step}; continue with --resume")
        return 128 + stopped
    say(f"trained {recipe.steps} steps: {out / LAST}")
    return 0


def _initialise(model: DeepMaskNetwork, request: Request) -> None:
    """The weights a new run starts from; the command line asks for those that the preset needs."""
    if model.config.refined:
        assert request.base is not None
        initialise_refined(model, load_checkpoint(request.base))
    elif request.init != "random":
        assert request.init is not None
        initialise_trunk(model.trunk, read_weights(request.init, model.config.trunk))


def _say_what_changed(request: Request, changed: Sequence[str], team: Team) -> None:
    """Tell what keeps a resumed run from being the one that was begun; it goes on all the same."""
    if not team.leads:
        return
    for option, given in (("--init", request.init), ("--from", request.base)):
        if given is not None:
            click.echo(
                f"note: {option} has no effect on --resume: the weights are the run's own", err=True
            )
    if changed:
        click.echo(
            f"note: {'; '.join(changed)}: the run goes on, but not as it would have", err=True
        )


def _sources(request: Request) -> list[tuple[Path, Path]]:
    """Every (annotations, images) pair given: training, masks only, validation."""
    sources = [(request.train_annotations, request.train_images)]
    folder = request.mask_images or request.train_images
    sources += [(path, folder) for path in request.mask_annotations]
    if request.val_annotations is not None and request.val_images is not None:
        sources.append((request.val_annotations, request.val_images))
    return sources


def _sets(request: Request, team: Team) -> tuple[list[AnnotatedSet], AnnotatedSet | None]:
    """The training sets, fully labelled first, and the validation set if one was given."""
    sources = _sources(request)
    sets = [_read(*source) for source in sources]
    for (file, _), found in zip(sources, sets, strict=True):
        if found.problems and team.leads:
            click.echo(
                f"{file}: {len(found.problems)} bad entries left out, the first: "
                f"{found.problems[0]}; list all with --check-data",
                err=True,
            )
    validation = sets.pop() if request.val_annotations is not None else None
    return sets, validation


def _cropper(
    request: Request, sets: Sequence[AnnotatedSet], hardware: Hardware
) -> Cropper | DeviceCropper:
    if request.crops == "host":
        return Cropper(int(request.cache_gb * 1e9))
    images = [image for found in sets for image in found.images]
    objects = [item for found in sets for item in found.instances if not item.crowd]
    return DeviceCropper(images, objects, hardware.device, request.threads)


def _read(annotations: Path, images: Path) -> AnnotatedSet:
    try:
        return read_annotations(annotations, images)
    except DataError as error:
        raise _failure(str(error)) from error


def _validation_batches(
    validation: AnnotatedSet, config: ModelConfig, recipe: Recipe, count: int
) -> list[Batch]:
    """The fixed validation patches: `count` objects, as many negatives, no colour change."""
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
