"""The evaluation itself: proposals of one image after another, matched, and written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deepmask.coco.annotations import Image
from deepmask.evaluate.class_matching import ClassMatches, judge_names, match_classes
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.first_twenty import Shown, count_shown
from deepmask.evaluate.ground_truth import GroundTruth, Objects
from deepmask.evaluate.matching import Candidates, rank_matches
from deepmask.evaluate.records import (
    RECORDS_NAME,
    Record,
    RecordWriter,
    read_run,
    repair,
    write_run,
)
from deepmask.runtime.errors import counted
from deepmask.runtime.progress import Progress, no_progress

#: What a resumed run may change: how many images it takes in.
_MAY_GROW = ("limit", "images", "images_of_all_shards")

Watcher = Callable[[Image, Objects, Candidates], None]


class Source(Protocol):
    """Whatever makes proposals for an image of the set."""

    def propose(self, picture: Image) -> tuple[Candidates, float | None]:
        """Return an image's proposals and the seconds they took, None if they were made before.

        Raises `EvalError` if this image cannot be done.
        """


@dataclass
class Outcome:
    """How a run ended. `failed` holds one line for each image that could not be done."""

    done: int = 0
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False


def select(truth: GroundTruth, limit: int | None, shard: tuple[int, int]) -> list[int]:
    """Return the `limit` smallest image ids; of these every n-th for shard (i, n)."""
    index, count = shard
    return sorted(truth.pictures)[:limit][index - 1 :: count]


def open_folder(
    folder: Path, run: Mapping[str, Any], image_ids: Sequence[int], resume: bool
) -> list[int]:
    """Make a folder ready for records of `run`; returns the ids of the images yet to be measured.

    A resumed run may take in more images than before. Raises `EvalError` if the folder holds
    records and `resume` is not asked for, records of another run, or of images beyond `image_ids`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECORDS_NAME).exists():
        write_run(folder, run)
        return list(image_ids)
    if not resume:
        raise EvalError(
            f"{folder}: already holds an evaluation: --resume continues it, or choose another --out"
        )
    before = read_run(folder)
    for key, value in run.items():
        if before.get(key) != value and key not in _MAY_GROW:
            raise EvalError(
                f"{folder}: cannot be resumed: its {key} is {before.get(key)!r}, this run's is "
                f"{value!r}: use the same command, or another --out"
            )
    done = repair(folder)
    if beyond := done - set(image_ids):
        more = counted(len(beyond), "images")
        raise EvalError(f"{folder}: cannot be resumed: it holds {more} that this run leaves out")
    write_run(folder, run)
    return [image_id for image_id in image_ids if image_id not in done]


def evaluate_images(
    truth: GroundTruth,
    source: Source,
    kinds: tuple[str, ...],
    folder: Path,
    image_ids: Sequence[int],
    watch: Watcher | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Measure the images that a folder has no record of; `watch` sees each of them.

    An image that fails is named and the others are still done; `KeyboardInterrupt` ends the run
    with every finished image on disk.
    """
    outcome = Outcome()
    with RecordWriter(folder) as writer:
        try:
            for count, image_id in enumerate(image_ids):
                progress("images", count, len(image_ids))
                picture = truth.pictures[image_id]
                try:
                    objects = truth.objects(image_id)
                    candidates, seconds = source.propose(picture)
                except EvalError as error:
                    outcome.failed.append(str(error))
                    continue
                ranks = rank_matches(candidates, objects, kinds)
                # First, as an image with a record is never looked at again.
                if watch is not None:
                    watch(picture, objects, candidates)
                shown = _shown(candidates, objects)
                classes = _classes(candidates, truth, image_id, kinds)
                names = _names(candidates, truth, image_id, kinds)
                count = len(candidates.scores)
                writer.write(Record(image_id, seconds, count, ranks, shown, classes, names))
                outcome.done += 1
            progress("images", len(image_ids), len(image_ids))
        except KeyboardInterrupt:
            outcome.interrupted = True
    return outcome


def _classes(
    candidates: Candidates, truth: GroundTruth, image_id: int, kinds: tuple[str, ...]
) -> dict[str, list[ClassMatches]]:
    if candidates.detections is None:
        return {}
    annotations = truth.with_crowds(image_id)
    return {kind: match_classes(candidates.detections, annotations, kind) for kind in kinds}


def _names(
    candidates: Candidates, truth: GroundTruth, image_id: int, kinds: tuple[str, ...]
) -> list[tuple[float, int]]:
    if candidates.names is None:
        return []
    return judge_names(candidates.names, truth.with_crowds(image_id), kinds[0])


def _shown(candidates: Candidates, objects: Objects) -> Shown | None:
    if candidates.rles is None or objects.rles is None:
        return None
    return count_shown(candidates.rles, objects.rles, objects.crowds)
