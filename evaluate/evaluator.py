"""One evaluation from what the user asked for to the files that answer it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepmask.coco.annotations import Image
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import ORIENTATIONS, read_picture, undecided, undecided_note
from deepmask.coco.voc import IMAGES
from deepmask.evaluate.contact_sheet import choose_tiles, write_sheet, write_tile
from deepmask.evaluate.errors import EvalError, EvalUsageError
from deepmask.evaluate.figures import draw_run
from deepmask.evaluate.folder import require_evaluation_folder
from deepmask.evaluate.ground_truth import GroundTruth, Objects, coco_truth, voc_truth
from deepmask.evaluate.matching import Candidates
from deepmask.evaluate.records import repair
from deepmask.evaluate.report import measure, write_metrics
from deepmask.evaluate.request import Evaluation, Request
from deepmask.evaluate.run import Outcome, Watcher, evaluate_images, open_folder, select
from deepmask.evaluate.sources import BoxSource, FileSource, ModelSource
from deepmask.runtime.distribution import pip_install
from deepmask.runtime.errors import OneLineError, UsageError, counted, printable, system_problem
from deepmask.runtime.io.outputs import require_folder
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.progress import LOGGER, Progress, no_progress

Report = Callable[[str], None]
#: Categories that a model lacks, named one by one.
_NAMED_UNKNOWN = 5
#: Letters of a category's name that are kept: as many as `read_run` takes.
_LONGEST_NAME = 200


def evaluate(
    request: Request,
    report: Report = LOGGER.info,
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure what is asked for and write the report to its folder.

    `report` is given lines of what a user should know: the engine in use, images without proposals.
    `KeyboardInterrupt` among the images ends the evaluation with what was measured by then. Raises
    `EvalUsageError` for a model or engine that cannot be had, and `EvalError` for anything else
    that cannot be read, measured or written.
    """
    try:
        return _evaluate(request, report, progress)
    except EvalError:
        raise
    except UsageError as error:
        raise EvalUsageError(str(error)) from error
    except OneLineError as error:
        raise EvalError(str(error)) from error
    except OSError as error:
        raise EvalError(system_problem(error)) from error


def write_report(folder: Path) -> dict[str, Any]:
    """Write a folder's metrics, table, figures and contact sheet from its records.

    Returns the content of `metrics.json`. Raises `EvalError` for records that cannot be measured.
    """
    metrics = measure(folder)
    write_metrics(folder, metrics)
    draw_run(folder, metrics["name"], metrics)
    count = metrics["run"]["source"]["proposals"]
    write_sheet(
        folder,
        f"{metrics['name']}: for each object the best of {count} proposals. "
        "Red outline: missed, none has an IoU above 0.5",
    )
    return metrics


def _evaluate(request: Request, report: Report, progress: Progress) -> Evaluation:
    if request.out is not None and find_spec("matplotlib") is None:  # not after hours of work
        raise EvalError(f"matplotlib is not installed: {pip_install('eval')}")
    if request.out is not None:
        if request.resume:
            require_folder("--out", request.out)
        else:
            require_evaluation_folder(request.out)
    truth = _truth(request)
    if note := truth.note():
        report(note)
    with ExitStack() as stack:
        name, source = _source(request, truth, stack, report, progress)
        image_ids = select(truth, request.limit, request.shard)
        if request.images is not None or request.voc is not None:
            turned = undecided((truth.pictures[i] for i in image_ids), _image_folder(request))
            if turned:
                report(undecided_note(turned))
        kinds = tuple(k for k in truth.kinds if k == "bbox" or source.has_masks)
        if isinstance(source, FileSource | BoxSource):
            _note_missing(source, image_ids, report)
        if not isinstance(source, FileSource):
            _note_unknown(source, report)
        run = {
            "name": printable(request.name or name),
            "dataset": truth.dataset,
            "annotations": _annotations(request, truth),
            **({"left_out": dict(truth.ignored)} if truth.ignored else {}),
            "kinds": list(kinds),
            **({"categories": _names(truth)} if source.has_categories else {}),
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
        watch = _tile_writer(request, truth, image_ids, folder, kinds[0], report)
        outcome = evaluate_images(truth, source, kinds, folder, todo, watch, progress)
        return _finish(request, folder, outcome, len(image_ids))


def _truth(request: Request) -> GroundTruth:
    if request.voc is not None:
        return voc_truth(request.voc)
    assert request.annotations is not None  # `Request` asks for one of the two
    as_stored = ORIENTATIONS[request.labels_are]
    return coco_truth(request.annotations, request.images, as_stored, request.categories)


def _annotations(request: Request, truth: GroundTruth) -> dict[str, str]:
    """Say what is measured on: runs are compared and joined if it is the same."""
    only = {"categories": printable(request.categories)} if request.categories else {}
    return {"name": printable(truth.name), "sha256": truth.digest, **only}


def _source(
    request: Request,
    truth: GroundTruth,
    stack: ExitStack,
    report: Report,
    progress: Progress,
) -> tuple[str, FileSource | ModelSource | BoxSource]:
    labels = truth.categories
    if request.proposals_json is not None:
        path = request.proposals_json
        return path.stem, FileSource(path, truth.pictures, request.proposals, labels)
    model = stack.enter_context(
        DeepMask.load(
            request.model,
            engine=request.engine,
            device=request.device,
            coarse=request.coarse,
            max_side=request.max_side,
            scales=request.scales,
            zoom=request.zoom,
            tf32=request.tf32,
            cache=request.cache,
            report=report,
            progress=progress,
        )
    )
    choice = model.choice
    why = f" ({choice.reason})" if choice.reason else ""
    report(f"{model.manifest.name} on {choice.engine}, {choice.device}{why}")
    if request.boxes_json is not None:
        if model.manifest.categories is None:
            raise EvalUsageError(
                f"--boxes-json: {model.manifest.name} has no categories to name boxes with: give "
                "the --model of one that has"
            )
        if not model.manifest.box_stages:
            raise EvalUsageError(
                f"--boxes-json: {model.manifest.name} names only boxes that it finds itself: give "
                "the --model of one that names boxes of masks"
            )
        boxes = FileSource(request.boxes_json, truth.pictures, request.proposals)
        name = f"{model.manifest.name}, {request.boxes_json.stem}"
        folder = _image_folder(request)
        return name, BoxSource(model, folder, boxes, max_side=request.max_side, labels=labels)
    if request.threshold is not None and not model.manifest.has_masks:
        raise EvalUsageError(
            f"--threshold: {model.manifest.name} gives boxes only, no masks: leave it out"
        )
    scales = request.scales or model.manifest.views.scales
    return model.manifest.name, ModelSource(
        model,
        _image_folder(request),
        proposals=request.proposals,
        scales=scales.zoomed(request.zoom),
        threshold=request.threshold or model.manifest.threshold,
        overlap=model.manifest.overlap if request.overlap is None else request.overlap,
        max_side=request.max_side,
        labels=labels,
    )


def _image_folder(request: Request) -> Path:
    if request.images is not None:
        return request.images
    assert request.voc is not None  # `Request` asks for one of the two
    return request.voc / IMAGES


def _note_missing(source: FileSource | BoxSource, image_ids: Sequence[int], report: Report) -> None:
    missing = len(set(image_ids) - source.images())
    if missing:
        report(
            f"note: no proposals in {missing} of {counted(len(image_ids), 'images')}, "
            "whose objects count as missed"
        )


def _note_unknown(source: ModelSource | BoxSource, report: Report) -> None:
    if source.unknown:
        names = ", ".join(source.unknown[:_NAMED_UNKNOWN])
        left = len(source.unknown) - _NAMED_UNKNOWN
        more = f" and {left} more" if left > 0 else ""
        report(f"note: the model has no {names}{more}: it finds none of these by name")


def _names(truth: GroundTruth) -> dict[str, str]:
    """Return the names of the labels' categories, by id as JSON has it."""
    return {
        str(one): printable(name)[:_LONGEST_NAME] or str(one)
        for one, name in sorted(truth.categories.items())
    }


def _tile_writer(
    request: Request,
    truth: GroundTruth,
    image_ids: Sequence[int],
    folder: Path,
    kind: str,
    report: Report,
) -> Watcher | None:
    """Return what draws a few images for the contact sheet; None where none can be drawn."""
    if request.out is None or (request.images is None and request.voc is None):
        return None
    images, chosen = _image_folder(request), choose_tiles(truth, image_ids)

    def watch(picture: Image, objects: Objects, candidates: Candidates) -> None:
        if picture.id not in chosen:
            return
        try:
            image = read_picture(picture, images)
        except LabelError as error:
            report(f"note: not on the contact sheet: {error}")
            return
        write_tile(folder, picture.id, image, objects, candidates, kind)

    return watch


def _finish(request: Request, folder: Path, outcome: Outcome, images: int) -> Evaluation:
    measured, metrics = len(repair(folder)), None
    if measured:
        metrics = measure(folder) if request.out is None else write_report(folder)
    return Evaluation(
        metrics, request.out, measured, images, tuple(outcome.failed), outcome.interrupted
    )
