"""One evaluation from what the user asked for to the files that answer it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from deepmask.coco.annotations import Image
from deepmask.coco.voc import IMAGES
from deepmask.evaluate.contact_sheet import choose_tiles, write_sheet, write_tile
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.figures import draw_run
from deepmask.evaluate.ground_truth import GroundTruth, Objects, coco_truth, voc_truth
from deepmask.evaluate.matching import Candidates
from deepmask.evaluate.records import repair
from deepmask.evaluate.report import describe, measure, write_metrics
from deepmask.evaluate.run import Outcome, Watcher, evaluate, open_folder, select
from deepmask.evaluate.sources import FileSource, ModelSource, check_size
from deepmask.runtime.distribution import pip_install
from deepmask.runtime.errors import printable
from deepmask.runtime.io.images import ImageError, read_image
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.deepmask import DeepMask

#: Failed images that are named one by one.
_NAMED_FAILURES = 5


@dataclass(frozen=True)
class Request:
    """The options of `deepmask-eval`, checked; None where the user left the choice open."""

    annotations: Path | None
    images: Path | None
    voc: Path | None
    proposals_json: Path | None
    model: Path | None
    engine: str
    device: str
    cache: Path | None
    proposals: int
    scales: Scales | None
    threshold: float | None
    overlap: float | None
    zoom: int
    coarse: bool
    out: Path | None
    name: str | None
    limit: int | None
    shard: tuple[int, int]
    resume: bool


def run_evaluation(request: Request) -> int:
    """Measure and report; returns the exit code. Raises `EvalError`, or the runtime's errors."""
    require("pycocotools", "tqdm", "matplotlib")
    truth = _truth(request)
    with ExitStack() as stack:
        name, source = _source(request, truth, stack)
        image_ids = select(truth, request.limit, request.shard)
        kinds = tuple(k for k in truth.kinds if k == "bbox" or source.has_masks)
        if isinstance(source, FileSource):
            _note_missing(source, image_ids)
        run = {
            "name": printable(request.name or name),
            "dataset": truth.dataset,
            "annotations": {"name": printable(truth.name), "sha256": truth.digest},
            "kinds": list(kinds),
            "limit": request.limit,
            "shard": list(request.shard),
            "images": len(image_ids),
            "images_of_all_shards": len(select(truth, request.limit, (1, 1))),
            "source": source.about(),
        }
        folder = request.out
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepmask-eval-")))
        todo = open_folder(folder, run, image_ids, request.resume)
        watch = _tile_writer(request, truth, image_ids, folder, kinds[0])
        outcome = evaluate(truth, source, kinds, folder, todo, watch)
        return _finish(request, folder, outcome, len(image_ids))


def report(folder: Path) -> None:
    """Write a folder's metrics, table, figures and contact sheet from what it holds; print."""
    metrics = measure(folder)
    write_metrics(folder, metrics)
    draw_run(folder, metrics["name"], metrics)
    count = metrics["run"]["source"]["proposals"]
    write_sheet(
        folder,
        f"{metrics['name']}: for each object the best of {count} proposals. "
        "Red outline: missed, none has an IoU above 0.5",
    )
    click.echo(describe(metrics))
    click.echo(f"wrote metrics.json, table.txt, figures and contact sheet in {folder}")


def require(*modules: str) -> None:
    """Raise `EvalError` saying what to install if a module is not there."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise EvalError(f"{' and '.join(missing)} missing: {pip_install('eval')}")


def _truth(request: Request) -> GroundTruth:
    if request.voc is not None:
        return voc_truth(request.voc)
    assert request.annotations is not None  # the command line asks for one of the two
    return coco_truth(request.annotations)


def _source(
    request: Request, truth: GroundTruth, stack: ExitStack
) -> tuple[str, FileSource | ModelSource]:
    """What makes the proposals, and what to call it."""
    if request.proposals_json is not None:
        path = request.proposals_json
        return path.stem, FileSource(path, truth.pictures, request.proposals)
    model = stack.enter_context(
        DeepMask.load(
            request.model,
            engine=request.engine,
            device=request.device,
            coarse=request.coarse,
            cache=request.cache,
            report=lambda line: click.echo(line, err=True),
        )
    )
    choice = model.choice
    why = f" ({choice.reason})" if choice.reason else ""
    click.echo(f"{model.manifest.name} on {choice.engine}, {choice.device}{why}", err=True)
    scales = request.scales or model.manifest.views.scales
    return model.manifest.name, ModelSource(
        model,
        _image_folder(request),
        proposals=request.proposals,
        scales=scales.zoomed(request.zoom),
        threshold=request.threshold or model.manifest.threshold,
        overlap=model.manifest.overlap if request.overlap is None else request.overlap,
    )


def _image_folder(request: Request) -> Path:
    if request.images is not None:
        return request.images
    assert request.voc is not None  # the command line asks for one of the two
    return request.voc / IMAGES


def _note_missing(source: FileSource, image_ids: Sequence[int]) -> None:
    missing = len(set(image_ids) - source.images())
    if missing:
        click.echo(
            f"note: {missing} of {len(image_ids)} images have no proposals; "
            "their objects count as missed",
            err=True,
        )


def _tile_writer(
    request: Request, truth: GroundTruth, image_ids: Sequence[int], folder: Path, kind: str
) -> Watcher | None:
    """What draws a few images of the run for the contact sheet, if there is anything to draw on."""
    if request.out is None or (request.images is None and request.voc is None):
        return None
    images, chosen = _image_folder(request), choose_tiles(truth, image_ids)

    def watch(picture: Image, objects: Objects, candidates: Candidates) -> None:
        if picture.id not in chosen:
            return
        try:
            image = read_image(images / picture.path)
            check_size(picture, image.shape)
        except (ImageError, EvalError) as error:
            click.echo(f"note: not on the contact sheet: {error}", err=True)
            return
        write_tile(folder, picture.id, image, objects, candidates, kind)

    return watch


def _finish(request: Request, folder: Path, outcome: Outcome, expected: int) -> int:
    """Report what was measured, and what was not; the exit code."""
    if outcome.interrupted:
        # A second Ctrl-C must not cut short what the first one left to be written.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    measured = len(repair(folder))
    if measured and request.out is not None:
        report(folder)
    elif measured:
        click.echo(describe(measure(folder)))
    for line in outcome.failed[:_NAMED_FAILURES]:
        click.echo(f"Error: {line}", err=True)
    if len(outcome.failed) > _NAMED_FAILURES:
        click.echo(f"Error: {len(outcome.failed) - _NAMED_FAILURES} more images failed", err=True)
    if outcome.interrupted:
        advice = "" if request.out is None else "; the same command with --resume continues"
        click.echo(f"Error: interrupted, {measured} of {expected} images done{advice}", err=True)
        return 130
    return 1 if outcome.failed else 0
