"""Run Selective Search on a labelled set, for comparison: its boxes, in its order, as COCO results.

`python -m benchmarks.selective_search --annotations J.json --images DIR --out boxes.json`, then
`deepmask-eval --annotations J.json --proposals-json boxes.json`. Needs `cv2.ximgproc`, the extra
`[selective-search]`. OpenCV gives the boxes of the segments but not the segments, so masks cannot
be measured.

Method: Uijlings, van de Sande, Gevers, Smeulders, IJCV 2013; the implementation is OpenCV's.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NoReturn

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from deepmask.coco.annotations import Image
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import GroundTruth, coco_truth
from deepmask.evaluate.records import write_text
from deepmask.runtime.distribution import pip_install
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.outputs import require_writable
from deepmask.runtime.io.results import ResultsWriter, result_files

MODES = ("fast", "quality", "single")
MISSING = (
    f"this OpenCV has no ximgproc: {pip_install('selective-search')} (its cv2 takes the "
    "place of opencv-python-headless's and has everything of it)"
)

Boxes = npt.NDArray[np.int32]


class Journal:
    """Record what an unfinished run has done, a line an image; the same command continues it."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """Open the journal of these settings; raises `EvalError` for one of other settings."""
        self.path = path
        self._settings = settings
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        whole = [line for line in lines if line.endswith(b"\n")]  # the last may be torn
        try:
            before, *done = [json.loads(line) for line in whole] or [settings]
            self.done = {int(entry["image_id"]) for entry in done}
        except (KeyError, TypeError, ValueError):
            raise EvalError(f"{path}: is not what an interrupted run leaves: delete it") from None
        if before != settings:
            raise EvalError(f"{path}: left by a run of {before}, this is {settings}: delete it")
        self._file = path.open("ab")
        self._file.truncate(sum(map(len, whole)))
        if not whole:
            self._write(settings)

    def add(self, image_id: int, seconds: float, boxes: Boxes) -> None:
        """Record an image; the line is flushed at once."""
        self._write({"image_id": image_id, "seconds": seconds, "boxes": boxes.tolist()})

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield all images that were recorded."""
        with self.path.open("rb") as file:
            next(file)
            yield from map(json.loads, file)

    def close(self, *, remove: bool) -> None:
        """Close the file; with `remove`, delete it, as its content is kept elsewhere."""
        self._file.close()
        if remove:
            self.path.unlink()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


def ximgproc() -> Any:
    """Return OpenCV's module of that name, which only its contrib builds have; else None."""
    return getattr(cv2, "ximgproc", None)


def search(image: npt.NDArray[np.uint8], mode: str, seed: int) -> Boxes:
    """Return the boxes of an image, (H, W, 3) uint8 RGB, best first: int32 (n, 4) XYWH.

    OpenCV ranks by depth in the hierarchy times C's `rand()`; `seed` makes that the same each time.
    """
    method = ximgproc().segmentation.createSelectiveSearchSegmentation()
    method.setBaseImage(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    switches = {
        "fast": method.switchToSelectiveSearchFast,
        "quality": method.switchToSelectiveSearchQuality,
        "single": method.switchToSingleStrategy,
    }
    switches[mode]()
    ctypes.CDLL(None).srand(seed % 2**32)
    boxes: Boxes = np.asarray(method.process(), np.int32).reshape(-1, 4)
    return boxes


def to_results(boxes: Sequence[Sequence[int]], image_id: int) -> list[dict[str, Any]]:
    """Return COCO results whose scores, from 1 towards 0, keep the order of the boxes."""
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "bbox": list(box),
            "score": round(1 - rank / len(boxes), 6),
        }
        for rank, box in enumerate(boxes)
    ]


def run(truth: GroundTruth, images: Path, mode: str, proposals: int, journal: Journal) -> list[str]:
    """Search every image that `journal` lacks; returns a line for each that cannot be read."""
    todo = [truth.pictures[i] for i in sorted(truth.pictures) if i not in journal.done]
    failed = []
    for picture in tqdm(todo, unit="image", disable=not sys.stderr.isatty()):
        start = time.process_time()  # other programs hardly change it
        try:
            image = _read(images, picture)
        except (LabelError, EvalError) as error:
            failed.append(str(error))
            continue
        boxes = search(image, mode, picture.id)[:proposals]
        journal.add(picture.id, time.process_time() - start, boxes)
    return failed


def write(journal: Journal, truth: GroundTruth, out: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write the results to `out`, and beside them how they were made; return the latter."""
    seconds = []
    with ResultsWriter(out) as writer:
        for entry in journal.read():
            picture = truth.pictures[entry["image_id"]]
            results = to_results(entry["boxes"], picture.id)
            writer.add(results, picture.id, str(picture.path), picture.height, picture.width)
            seconds.append(entry["seconds"])
    about |= {"images": len(seconds)}
    if seconds:
        about |= {"processor_seconds": {"mean": mean(seconds), "median": median(seconds)}}
    write_text(out.with_suffix(".about.json"), json.dumps(about, indent=1) + "\n")
    return about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--annotations", type=Path, required=True, help="COCO instances JSON.")
    parser.add_argument("--images", type=Path, required=True, help="Folder of its images.")
    parser.add_argument("--out", type=Path, required=True, help="COCO results JSON to write.")
    parser.add_argument("--mode", choices=MODES, default="fast", help="Default: fast.")
    parser.add_argument("--proposals", type=int, default=1000, help="Most boxes an image.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of OpenCV.")
    given = parser.parse_args()
    if given.proposals < 1 or given.threads < 1:
        parser.error("--proposals and --threads must be 1 or more")
    if ximgproc() is None:
        parser.error(MISSING)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        failed = _search_and_write(given)
    except KeyboardInterrupt:
        print("Error: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except (OneLineError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    for line in failed:
        print(f"Error: {line}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def _search_and_write(given: argparse.Namespace) -> list[str]:
    about = given.out.with_suffix(".about.json")
    require_writable({"--out": [*result_files(given.out), about]}, [given.annotations], None)
    cv2.setNumThreads(given.threads)
    truth = coco_truth(given.annotations)
    settings = {
        "method": f"Selective Search, {given.mode}",
        "annotations": {"name": truth.name, "sha256": truth.digest},
        "proposals": given.proposals,
        "opencv": cv2.__version__,
        "threads": given.threads,
    }
    journal = Journal(given.out.with_suffix(".partial.jsonl"), settings)
    whole = False
    try:
        failed = run(truth, given.images, given.mode, given.proposals, journal)
        about = write(journal, truth, given.out, settings)
        whole = not failed
    finally:
        journal.close(remove=whole)
    timing = ""
    if about["images"]:
        timing = f", {about['processor_seconds']['median']:.2f} processor seconds each (median)"
    print(f"wrote {given.out}: {about['images']} images{timing}")
    return failed


def _read(images: Path, picture: Image) -> npt.NDArray[np.uint8]:
    return read_picture(picture, images)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
