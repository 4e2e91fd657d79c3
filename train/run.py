"""One training run: a request in, the weights that come of it in a folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.categories import with_categories
from deepmask.networks.families import FAMILIES, describe, family_of
from deepmask.networks.family import TensorBatch, TrainingData
from deepmask.networks.network import Network
from deepmask.networks.presets import PRESETS, Preset
from deepmask.networks.processes import PeerLostError
from deepmask.networks.recipe import Recipe
from deepmask.runtime.errors import OneLineError, counted, one_line
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.outputs import require_folder, require_writable
from deepmask.runtime.progress import LOGGER
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.data import DataFiles, Report, read_sets
from deepmask.train.device import Hardware, choose_hardware
from deepmask.train.errors import TrainError, TrainUsageError
from deepmask.train.initialise import initialise, initialise_from, read_trained
from deepmask.train.loop import BEST, LAST, LOG, Schedule, run_loop
from deepmask.train.parallel import Team, join, local_device
from deepmask.train.provenance import changes, conditions
from deepmask.train.recall import RecallImage, recall_images
from deepmask.train.run_file import NAME as RUN_FILE
from deepmask.train.run_file import read_settings, write_settings
from deepmask.train.stored_proposals import read_proposals
from deepmask.train.trainer import Trainer

#: What a resumed run does not take from the first: where it is, and what its weights began with.
_NOT_KEPT = ("data", "out", "recipe", "init", "base", "resume", "schedule")


@dataclass(frozen=True)
class Request:
    """What to train, from what, and where.

    preset     a key of `PRESETS`; `recipe` is trained by instead of the preset's own if given.
    out        folder for last.pt, best.pt and log.csv.
    init       weights of a new run's trunk: a file, "imagenet" or "random"; see `initialise`. A
               network without a trunk takes "random" only.
    base       trained network to go on from, in place of `init`: a checkpoint, a model folder or
               the name of a shipped model; see `read_trained`.
    resume     continue the run in `out` exactly where it stopped, whatever `init` and `base` are.
    device     "auto", "cpu", "cuda" or "cuda:N"; `precision` is "auto", "bf16" or "fp32".
    threads    threads that make batches.
    cache_gb   memory for decoded images and masks.
    val_samples, recall_images  how much validation and average recall are measured on.
    """

    preset: str
    data: DataFiles
    out: Path
    recipe: Recipe | None = None
    init: str | None = None
    base: Path | None = None
    resume: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    compiled: bool = False
    threads: int = 1
    cache_gb: float = 4.0
    val_samples: int = 512
    recall_images: int = 20
    schedule: Schedule = field(default_factory=Schedule)


@dataclass(frozen=True)
class Result:
    """How a run ended: after `step` steps, `stopped` by a signal or 0; `last` is its checkpoint."""

    step: int
    stopped: int
    last: Path


def train(
    request: Request,
    report: Report = LOGGER.info,
    warn: Report = LOGGER.warning,
    bar: bool = False,
) -> Result:
    """Set everything up and train until the last step, or until Ctrl-C or SIGTERM.

    `report` is given lines of progress, `warn` what is not as it might be expected; `bar` shows a
    progress bar on standard error. Under `torchrun` each process calls this; only the first speaks.
    Raises `TrainUsageError` for what cannot be done, `TrainError` and other `OneLineError`s for
    work that failed.
    """
    check_request(request)
    device = local_device(request.device)
    try:
        hardware = choose_hardware(device, request.precision, request.compiled)
    except (ValueError, RuntimeError) as error:
        raise TrainUsageError(one_line(error)) from error
    try:
        with join(hardware.device) as team:
            if not team.leads:
                report = warn = lambda line: None
            return _run(request, hardware, team, report, warn, bar)
    except OneLineError:
        raise
    except (FloatingPointError, OSError, PeerLostError, ValueError) as error:
        raise TrainError(" ".join(str(error).split())) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise TrainError(
            f"not enough memory, lower --batch or --cache-gb, then --resume: {one_line(error)}"
        ) from error
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise TrainError(
            f"--compile failed, leave it out or mend what PyTorch names: {one_line(error)}"
        ) from error


def check_request(request: Request) -> None:
    """Raise `TrainUsageError` for what is missing or does not go together."""
    preset = PRESETS.get(request.preset)
    if preset is None:
        raise TrainUsageError(
            f"--preset {request.preset} is not known; there are {', '.join(PRESETS)}"
        )
    name, family = request.preset, FAMILIES[preset.family]
    if request.val_samples != Request.val_samples and family.validation is None:
        raise TrainUsageError(f"--val-patches has no effect on {name}: leave it out")
    if request.data.proposals is not None and not family.reads_proposals:
        raise TrainUsageError(f"--proposals has no effect on {name}: leave it out")
    _check_start(request, preset)
    last = request.out / LAST
    if last.exists() and not request.resume:
        raise TrainUsageError(f"{last} exists: continue with --resume, or choose another --out")
    if request.resume:
        require_folder("--out", request.out)
    else:
        _require_free(request)


def _check_start(request: Request, preset: Preset) -> None:
    """Check what the weights of a new run begin with."""
    name, family = request.preset, FAMILIES[preset.family]
    has_base = family.base(preset.config) is not None
    refines, own_trunk = has_base and not family.base_or_init, family.own_trunk(preset.config)
    if refines and not own_trunk and request.init is not None:
        raise TrainUsageError(
            f"--init is for presets that train a trunk, and {name} keeps that of --from: "
            "leave it out"
        )
    if not refines and request.base is not None and request.init is not None:
        raise TrainUsageError(
            f"--init {request.init} and --from {request.base} are two starts: give one"
        )
    if request.resume:
        return
    if refines and request.base is None:
        raise TrainUsageError(
            f"--from is missing: the checkpoint of the network that {name} refines"
        )
    if request.init is None and (own_trunk if refines else request.base is None):
        raise TrainUsageError(
            "--init is missing: a file of ImageNet weights, 'imagenet' for the published ones, "
            f"or 'random' to start from nothing{'' if refines else '; or --from a trained network'}"
        )


def _require_free(request: Request) -> None:
    """Refuse a folder where a new run would replace what no run of this kind wrote."""
    sources = (*request.data.training(), *request.data.validation())
    files = [path for source in sources for path in (source.labels, source.images)]
    given = [Path(request.init)] if request.init else []
    given += [path for path in (request.base, request.data.proposals) if path]
    written = [request.out / name for name in (RUN_FILE, LAST, BEST, LOG)]
    require_writable({"--out": written}, [*files, *given], force=True)
    if not read_settings(request.out):
        for path in written:
            if os.path.lexists(path):
                raise TrainUsageError(
                    f"{path} exists and was not made by deepmask-train: choose another --out"
                )


def settings_of(request: Request) -> dict[str, Any]:
    """Return the options that a resumed run takes from the first, by their names."""
    settings = {**vars(request.data), **vars(request.recipe or PRESETS[request.preset].recipe)}
    settings |= vars(request.schedule)
    own = (one for one in vars(request) if one not in _NOT_KEPT)
    return {**settings, **{name: getattr(request, name) for name in own}}


def _run(
    request: Request, hardware: Hardware, team: Team, report: Report, warn: Report, bar: bool
) -> Result:
    preset = PRESETS[request.preset]
    family, recipe = FAMILIES[preset.family], request.recipe or preset.recipe
    labelled, *partly = with_categories(read_sets(request.data.training(), warn), recipe.categories)
    stored, digests = request.data.proposals, [found.digest for found in (labelled, *partly)]
    proposals = read_proposals(stored, (labelled, *partly), warn) if stored else None
    data = TrainingData(
        labelled,
        partly,
        seed=request.seed,
        rank=team.rank,
        size=team.size,
        cache_bytes=int(request.cache_gb * 1e9),
        proposals=proposals,
    )
    config = family.fitted(preset.config, data)
    torch.manual_seed(request.seed)
    network = family.build(config)
    make_batch = family.batches(data, config, recipe)
    held_out = read_sets(request.data.validation(), warn)
    batches, images = _measured_on(held_out, network, recipe, request) if team.leads else ([], [])
    if not request.resume:
        _initialise(network, request)
    now = conditions(digests, hardware, sha256_of(stored) if stored else "")
    trainer = Trainer(network, recipe, request.seed, hardware, team, now)
    last = request.out / LAST
    if request.resume:
        checkpoint = load_checkpoint(last)
        trainer.resume(checkpoint)
        _warn_of_changes(request, changes(checkpoint.training.get("conditions"), now), warn)
    request.out.mkdir(parents=True, exist_ok=True)
    if team.leads:
        write_settings(request.out, settings_of(request))
    parameters = sum(p.numel() for p in network.parameters())
    processes = f"{team.size} processes, each on " if team.size > 1 else ""
    report(
        f"{request.preset}: {parameters / 1e6:.3g} M parameters on {processes}{hardware}; "
        f"{counted(len(labelled.images), 'labelled images')}, "
        f"{counted(len(labelled.instances), 'objects')}; "
        f"steps {trainer.step} to {recipe.steps}"
    )
    out, threads, schedule = request.out, request.threads, request.schedule
    stopped = run_loop(trainer, make_batch, batches, out, threads, schedule, images, report, bar)
    if stopped:
        name = signal.Signals(stopped).name
        report(f"{name}: saved {last} at step {trainer.step}; continue with --resume")
    else:
        report(f"trained {counted(recipe.steps, 'steps')}: {last}")
    return Result(trainer.step, stopped, last)


def _measured_on(
    held_out: Sequence[LabelledSet], network: Network, recipe: Recipe, request: Request
) -> tuple[Sequence[TensorBatch], Sequence[RecallImage]]:
    batches: Sequence[TensorBatch] = []
    images: Sequence[RecallImage] = []
    validation = family_of(network.config).validation
    for found in held_out:
        if validation is not None:
            batches = validation.batches(found, network.config, recipe, request.val_samples)
        if request.schedule.recall_every:
            with_masks = any(grid.mask_size for grid in describe(network.config).grids)
            images = recall_images(found, request.recall_images, with_masks)
    return batches, images


def _initialise(network: Network, request: Request) -> None:
    if request.base is not None:
        initialise_from(network, read_trained(request.base, network.config))
    if request.init is not None:
        initialise(network, request.init)


def _warn_of_changes(request: Request, changed: Sequence[str], warn: Report) -> None:
    for option, given in (("--init", request.init), ("--from", request.base)):
        if given is not None:
            warn(f"note: {option} has no effect on --resume: the weights are the run's own")
    if changed:
        warn(f"note: {'; '.join(changed)}: results will differ from an uninterrupted run's")
