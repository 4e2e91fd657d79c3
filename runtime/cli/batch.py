"""Many images through one model: which files, and what became of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from deepmask.runtime.cli.inputs import InputError
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.errors import printable
from deepmask.runtime.io.atomic import remove_stale
from deepmask.runtime.io.images import ImageError, read_image
from deepmask.runtime.io.results import PICTURES, ResultsWriter, image_ids, write_picture
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.predict.proposals import CocoResult, Proposals

#: Images in work at a time: the network runs on one while another is decoded, ranked or encoded.
IN_WORK = 2

#: An image's proposals, the same as COCO results, the seconds of each stage, and its overlay.
_Done = tuple[Proposals, list[CocoResult], dict[str, float], npt.NDArray[np.uint8] | None]


@dataclass(frozen=True)
class Settings:
    """How to treat each image; the first five as in `DeepMask.__call__`."""

    proposals: int
    scales: Scales
    threshold: float
    overlap: float
    max_side: int | None
    max_pixels: int
    top: int


@dataclass(frozen=True)
class Outcome:
    """One image: its proposals and the seconds of each stage and in all, or what went wrong."""

    path: Path
    proposals: Proposals | None
    seconds: Mapping[str, float]
    error: str = ""


def overlay_paths(names: Sequence[str], overlay: Path | None) -> list[Path | None]:
    """Return where each image's overlay goes: the picture `overlay`, or one in that folder.

    `names` are paths that end in each image's own name; folders in them are made there, too.
    Raises `InputError` for one picture and several images, and for what cannot be a picture.
    """
    if overlay is None:
        return [None] * len(names)
    if overlay.suffix and not overlay.is_dir():
        if overlay.suffix.lower() not in PICTURES:
            raise InputError(f"--overlay {overlay}: expected a folder, or {', '.join(PICTURES)}")
        if len(names) > 1:
            raise InputError(f"--overlay {overlay}: a folder is needed for {len(names)} images")
        return [overlay]
    return [overlay / f"{name}.png" for name in _apart(names)]


def _apart(names: Sequence[str]) -> list[str]:
    """Return the names without suffix, with a number where two would be one to a file system."""
    taken: set[str] = set()
    chosen = []
    for path in map(PurePath, names):
        whole = path.relative_to(path.anchor).with_suffix("").as_posix()
        name, copy = whole, 1
        while name.casefold() in taken:
            copy += 1
            name = f"{whole}-{copy}"
        taken.add(name.casefold())
        chosen.append(name)
    return chosen


def run_batch(
    model: DeepMask,
    paths: Sequence[Path],
    overlays: Sequence[Path | None],
    settings: Settings,
    writer: ResultsWriter,
    names: Sequence[str] = (),
) -> Generator[Outcome, None, None]:
    """Write each image's results to `writer`, its overlay to a file. Failures stop nothing.

    `names` are what the list of images calls each, by default the name of its file.

    The next image is in work while one is awaited, so an image's stages take longer than they would
    alone, and a folder less time. Results are written in the order of `paths`. Closed early, it
    waits for what is in work.
    """
    remove_stale(*(overlay for overlay in overlays if overlay is not None))
    waiting: deque[tuple[Path, str, int, Path | None, Future[_Done]]] = deque()
    each = zip(
        paths, names or [path.name for path in paths], image_ids(paths), overlays, strict=True
    )
    with ThreadPoolExecutor(IN_WORK) as pool:
        try:
            for path, name, image_id, overlay in each:
                job = pool.submit(_run_image, model, path, image_id, overlay is not None, settings)
                waiting.append((path, name, image_id, overlay, job))
                if len(waiting) == IN_WORK:
                    yield _outcome(*waiting.popleft(), writer)
            while waiting:
                yield _outcome(*waiting.popleft(), writer)
        finally:
            pool.shutdown(cancel_futures=True)


def _outcome(
    path: Path,
    name: str,
    image_id: int,
    overlay: Path | None,
    job: Future[_Done],
    writer: ResultsWriter,
) -> Outcome:
    """Wait for an image, and write its files; failures of the image are told, not raised."""
    try:
        proposals, results, seconds, picture = job.result()
    except ImageError as error:
        return Outcome(path, None, {}, str(error))
    except EngineError as error:
        return Outcome(path, None, {}, printable(f"{path}: {error}"))
    except MemoryError:
        said = printable(f"{path}: not enough memory, try a smaller --max-side")
        return Outcome(path, None, {}, said)
    writer.add(results, image_id, name, *proposals.image_size)
    if overlay is not None and picture is not None:
        write_picture(overlay, picture)
    return Outcome(path, proposals, seconds)


def _run_image(model: DeepMask, path: Path, image_id: int, draw: bool, settings: Settings) -> _Done:
    start = time.perf_counter()
    image = read_image(path, settings.max_pixels)
    seconds = {"decode": time.perf_counter() - start}
    proposals = model(
        image,
        proposals=settings.proposals,
        scales=settings.scales,
        threshold=settings.threshold,
        overlap=settings.overlap,
        max_side=settings.max_side,
    )
    found = time.perf_counter()
    results = proposals.to_coco(image_id)
    end = time.perf_counter()
    encode = proposals.seconds.get("encode", 0.0) + end - found
    seconds |= {**proposals.seconds, "encode": encode, "total": end - start}
    drawn = proposals.draw(image, settings.top) if draw else None
    return proposals, results, seconds, drawn
