"""Many images through one model, and what became of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.errors import printable
from deepmask.runtime.io.atomic import remove_stale
from deepmask.runtime.io.formats import format_contents, remove_rest
from deepmask.runtime.io.html_report import HtmlReport, picture_section
from deepmask.runtime.io.images import ImageError, read_image
from deepmask.runtime.io.results import ResultsWriter, image_ids, write_file, write_picture
from deepmask.runtime.io.written import Written
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.predict.proposals import CocoResult, Proposals

#: Images in work at a time: the network runs on one while another is decoded, ranked or encoded.
IN_WORK = 2

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Settings:
    """How to treat each image; the first five as in `DeepMask.__call__`.

    labels, label_score  as in `DeepMask.__call__`, too.
    kept     labels of the proposals to keep; None: all.
    objects  how to choose objects: the arguments of `Proposals.objects`.
    kind     of the files that are written, in `FOLDERS`; "coco" for none but COCO results.
    whole    write all proposals as results, not only the objects.
    """

    proposals: int
    scales: Scales
    threshold: float
    overlap: float
    max_side: int | None
    max_pixels: int
    labels: bool = False
    label_score: float | None = None
    kept: Collection[int] | None = None
    objects: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "coco"
    whole: bool = True


@dataclass(frozen=True)
class Outcome:
    """One image: what was found in it and the seconds of each stage and in all, or what went wrong.

    objects  those among the proposals, numbered as everywhere.
    """

    path: Path
    proposals: Proposals | None
    seconds: Mapping[str, float]
    error: str = ""
    objects: Proposals | None = None


#: Outcomes as they come; closed, the work ends.
Outcomes: TypeAlias = Generator[Outcome, None, None]


@dataclass(frozen=True)
class Job:
    """One image to work on.

    path    of the image, or of the video it is a frame of.
    name    in the list of images.
    read    decodes it.
    draw    takes the overlay, or None.
    files   those of `Settings.kind`, as `format_files` names them.
    """

    path: Path
    name: str
    image_id: int
    read: Callable[[], Pixels]
    draw: Callable[[Pixels], None] | None = None
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class _Done:
    """What comes of an image, to be written in the order of the images."""

    proposals: Proposals
    objects: Proposals
    results: list[CocoResult]
    seconds: dict[str, float]
    overlay: Pixels | None
    files: list[tuple[Path, bytes]]
    section: str | None


def run_batch(
    model: DeepMask,
    paths: Sequence[Path],
    overlays: Sequence[Path | None],
    settings: Settings,
    writer: ResultsWriter | None,
    names: Sequence[str] = (),
    *,
    files: Sequence[Sequence[Path]] = (),
    page: HtmlReport | None = None,
) -> Outcomes:
    """Write each image's results to `writer`, its overlay to a file. Failures stop nothing.

    names  what the list of images calls each; by default the name of its file.
    files  of each image, in the format of the settings.
    page   to which all images are added.
    """
    remove_stale(*filter(None, overlays), *(file for of_image in files for file in of_image))
    called = names or [path.name for path in paths]
    each = zip(paths, called, image_ids(paths), overlays, files or [()] * len(paths), strict=True)
    jobs = (
        Job(
            path,
            name,
            image_id,
            partial(read_image, path, settings.max_pixels),
            None if overlay is None else partial(write_picture, overlay),
            of_image,
        )
        for path, name, image_id, overlay, of_image in each
    )
    yield from run_jobs(model, jobs, settings, writer, page)


def run_jobs(
    model: DeepMask,
    jobs: Iterable[Job],
    settings: Settings,
    writer: ResultsWriter | None,
    page: HtmlReport | None = None,
) -> Outcomes:
    """Work on images, and write what comes of them in their order.

    The next image is in work while one is awaited, so an image's stages take longer than they would
    alone, and a folder less time. Closed early, it waits for what is in work.
    """
    waiting: deque[tuple[Job, Future[_Done]]] = deque()
    finish = partial(_outcome, settings=settings, writer=writer, page=page, written=Written())
    with ThreadPoolExecutor(IN_WORK) as pool:
        try:
            for job in jobs:
                future = pool.submit(_run_image, model, job, settings, page is not None)
                waiting.append((job, future))
                if len(waiting) == IN_WORK:
                    yield finish(*waiting.popleft())
            while waiting:
                yield finish(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _outcome(
    job: Job,
    future: Future[_Done],
    settings: Settings,
    writer: ResultsWriter | None,
    page: HtmlReport | None,
    written: Written,
) -> Outcome:
    """Wait for an image, and write its files; failures of the image are told, not raised."""
    try:
        done = future.result()
    except ImageError as error:
        return Outcome(job.path, None, {}, str(error))
    except EngineError as error:
        return Outcome(job.path, None, {}, printable(f"{job.path}: {error}"))
    except MemoryError:
        said = printable(f"{job.path}: not enough memory, try a smaller --max-side")
        return Outcome(job.path, None, {}, said)
    for file, content in done.files:
        write_file(file, content)
    if settings.kind == "cutout":
        remove_rest(job.files, len(done.files), written)
    if job.draw is not None and done.overlay is not None:
        job.draw(done.overlay)
    if page is not None and done.section is not None:
        page.add(done.section)
    if writer is not None:
        writer.add(done.results, job.image_id, job.name, *done.proposals.image_size)
    return Outcome(job.path, done.proposals, done.seconds, objects=done.objects)


def _run_image(model: DeepMask, job: Job, settings: Settings, with_page: bool) -> _Done:
    start = time.perf_counter()
    image = job.read()
    seconds = {"decode": time.perf_counter() - start}
    proposals = model(
        image,
        proposals=settings.proposals,
        scales=settings.scales,
        threshold=settings.threshold,
        overlap=settings.overlap,
        max_side=settings.max_side,
        labels=settings.labels,
        label_score=settings.label_score,
    )
    found = time.perf_counter()
    objects = proposals.objects(**settings.objects)
    if settings.kept is not None:  # among all objects, so that a category adds none
        proposals, objects = proposals.labelled(settings.kept), objects.labelled(settings.kept)
    results = (proposals if settings.whole else objects).to_coco(job.image_id)
    end = time.perf_counter()
    encode = proposals.seconds.get("encode", 0.0) + end - found
    seconds |= {**proposals.seconds, "encode": encode, "total": end - start}
    shapes, scores, classes = objects.shapes, objects.scores, objects.classes
    numbers = () if classes is None else classes.numbers
    contents = partial(format_contents, names=objects.names or (), numbers=numbers)
    return _Done(
        proposals,
        objects,
        results,
        seconds,
        overlay=objects.draw(image) if job.draw is not None else None,
        files=[]
        if settings.kind == "coco"
        else list(contents(settings.kind, job.files, job.path, image, shapes, scores)),
        section=picture_section(job.name, image, shapes, scores, objects.captions)
        if with_page
        else None,
    )
