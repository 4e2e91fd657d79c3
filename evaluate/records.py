"""Write and read an evaluation's records: one line of JSON for each image, as soon as it is done.

An evaluation's folder holds `run.json`, what was measured and how, and `records.jsonl`, a line for
each image. Metrics, curves and intervals are computed from the lines alone, in one pass. So runs
resume, shards merge, and results are compared without the images.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.evaluate.class_matching import NOTHING, RIGHT, WRONG, ClassMatches
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.first_twenty import Shown
from deepmask.evaluate.matching import AREA_RANGES, IOU_THRESHOLDS, MAX_PROPOSALS, Ranks
from deepmask.evaluate.published import TABLES
from deepmask.runtime.io.atomic import remove_stale
from deepmask.runtime.io.written import write_known
from deepmask.runtime.validation import ContentError, integer, mapping, text
from deepmask.runtime.validation import number as checked_number

RUN_NAME = "run.json"
RECORDS_NAME = "records.jsonl"
FORMAT = "deepmask-eval/1"
_KINDS = ("segm", "bbox")


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one image.

    seconds    how long its proposals took; None if that was not timed.
    proposals  how many there were.
    ranks      the proposals that found its objects, see `matching`.
    shown      what its first masks are; None for boxes only.
    classes    by kind what its detections of each category found; empty without categories.
    names      probability and outcome of each name on it, see `judge_names`.
    """

    image_id: int
    seconds: float | None
    proposals: int
    ranks: Ranks
    shown: Shown | None = None
    classes: Mapping[str, Sequence[ClassMatches]] = field(default_factory=dict)
    names: Sequence[tuple[float, int]] = ()


class RecordWriter(AbstractContextManager["RecordWriter"]):
    """Append records to a folder. A context manager; each line is flushed at once."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / RECORDS_NAME).open("ab")

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, record: Record) -> None:
        """Append one record. If the process dies in a line, `repair` removes it later."""
        ranks = {
            kind: {area: array.tolist() for area, array in areas.items()}
            for kind, areas in record.ranks.items()
        }
        line = {
            "image_id": record.image_id,
            "seconds": record.seconds,
            "proposals": record.proposals,
            "ranks": ranks,
            **({} if record.shown is None else {"shown": asdict(record.shown)}),
            **({"classes": _class_rows(record.classes)} if record.classes else {}),
            **({"names": record.names} if record.names else {}),
        }
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


def read_records(folder: Path, kinds: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the records of a folder in the order in which they were written.

    Raises `EvalError` for a line that is no record, or lacks the ranks of one of `kinds`.
    """
    path = folder / RECORDS_NAME
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _parse(path, number, line, kinds)
    except OSError as error:
        raise EvalError(f"{path}: cannot be read: {error.strerror or error}") from None


def repair(folder: Path) -> set[int]:
    """Cut off a last line that is not complete; return the ids of the images already done."""
    path = folder / RECORDS_NAME
    if not path.exists():
        return set()
    with path.open("r+b") as file:
        whole = 0
        for line in file:
            if line.endswith(b"\n"):
                whole += len(line)
        file.truncate(whole)
        os.fsync(file.fileno())
    return {record.image_id for record in read_records(folder)}


def write_run(folder: Path, run: Mapping[str, Any]) -> None:
    write_text(folder / RUN_NAME, json.dumps({"format": FORMAT, **run}, indent=1) + "\n")


def read_run(folder: Path) -> dict[str, Any]:
    """Return a folder's `run.json`; raises `EvalError` if it is no evaluation folder."""
    path = folder / RUN_NAME
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise EvalError(
            f"{folder}: has no {RUN_NAME}: give a folder that deepmask-eval wrote with --out"
        ) from None
    except (ValueError, RecursionError):
        raise EvalError(f"{path}: is not valid JSON") from None
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise EvalError(f"{path}: is not of the format {FORMAT}")
    try:
        _check_run(run)
    except (KeyError, ContentError) as error:
        raise EvalError(f"{path}: is not as deepmask-eval writes it: {error!s:.100}") from None
    return run


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all; raises `OSError`."""
    write_known(path, text.encode())
    remove_stale(path)


def _check_run(run: dict[str, Any]) -> None:
    """Raise KeyError or `ContentError` if a report could not be made of it."""
    for values, key in ((run, "name"), (mapping(run, "annotations"), "name")):
        if not isinstance(values[key], str) or not values[key].isprintable():
            raise ContentError(f"{key} is {values[key]!r:.60}, expected a text")
    if run["dataset"] not in list(TABLES):
        raise ContentError(f"dataset is {run['dataset']!r:.60}, expected {' or '.join(TABLES)}")
    kinds = run["kinds"]
    if not isinstance(kinds, list) or not kinds or not all(k in list(_KINDS) for k in kinds):
        raise ContentError(f"kinds are {kinds!r:.60}, expected some of {', '.join(_KINDS)}")
    integer(mapping(run, "source"), "proposals", 1, MAX_PROPOSALS)
    for category, name in mapping({"categories": {}, **run}, "categories").items():
        if not re.fullmatch(r"-?\d{1,20}", category) or not text({"name": name}, "name"):
            raise ContentError(f"categories have {category!r:.60}, expected ids and names")
    for key in ("images", "images_of_all_shards"):
        integer(run, key, 0, 1 << 53)
    for reason in mapping({"left_out": {}, **run}, "left_out"):
        if not reason.isprintable():
            raise ContentError(f"left_out has {reason!r:.60}, expected a reason")
        integer(run["left_out"], reason, 0, 1 << 53)
    shard = run["shard"]
    if not isinstance(shard, list) or len(shard) != 2:
        raise ContentError(f"shard is {shard!r:.60}, expected two numbers")
    integer({"shard": shard[0]}, "shard", 1, integer({"shard": shard[1]}, "shard", 1, 1 << 53))


def _parse(path: Path, number: int, line: bytes, kinds: Sequence[str]) -> Record:
    try:
        entry = json.loads(line)
        ranks: Ranks = {
            kind: {area: _ranks(areas[area]) for area in AREA_RANGES}
            for kind, areas in entry["ranks"].items()
        }
        if missing := set(kinds) - set(ranks):
            raise ValueError(f"no ranks of {missing}")
        seconds = entry["seconds"]
        if seconds is not None:
            seconds = checked_number(entry, "seconds", 0, 1e9)
        proposals = integer(entry, "proposals", 0, 1 << 53)
        shown = entry.get("shown")  # older records lack it
        if shown is not None:
            names = [item.name for item in fields(Shown)]
            shown = Shown(**{name: integer(shown, name, 0, 1 << 53) for name in names})
        classes = {
            kind: [_class_matches(row) for row in rows]
            for kind, rows in mapping({"classes": {}, **entry}, "classes").items()
        }
        named = [_name(*pair) for pair in entry.get("names", ())]
        return Record(int(entry["image_id"]), seconds, proposals, ranks, shown, classes, named)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise EvalError(
            f"{path}: line {number} is not a record: was the file edited, or a run killed? "
            "--resume repairs a torn last line"
        ) from None


def _ranks(rows: Any) -> npt.NDArray[np.int64]:
    ranks = np.array(rows, np.int64).reshape(-1, len(IOU_THRESHOLDS))
    if ranks.size and not (ranks.min() >= 0 and ranks.max() <= MAX_PROPOSALS):
        raise ValueError("a rank lies outside 0…1000")
    return ranks


def _name(score: Any, outcome: Any) -> tuple[float, int]:
    if outcome not in (NOTHING, WRONG, RIGHT) or not 0 <= score <= 1:
        raise ValueError("not a name")
    return float(score), int(outcome)


def _class_rows(classes: Mapping[str, Sequence[ClassMatches]]) -> dict[str, list[Any]]:
    """Return matches as JSON: each a list of the fields' values in order."""
    return {kind: [astuple(one) for one in matches] for kind, matches in classes.items()}


def _class_matches(row: Any) -> ClassMatches:
    """Read what `_class_rows` wrote; raises ValueError or TypeError for anything else."""
    category, scores, hits, spared, objects, voc, voc_objects = row
    areas, count = len(AREA_RANGES), len(scores)
    numbers = [*hits, *spared]
    flags = [int(flag) for of_area in numbers for flag in of_area]
    fits = len(hits) == len(spared) == len(objects) == areas
    fits &= all(len(of_area) == count for of_area in (*numbers, voc))
    fits &= all(0 <= flag < 1 << len(IOU_THRESHOLDS) for flag in flags)
    fits &= all(abs(score) < 1e300 for score in scores) and set(voc) <= {-1, 0, 1}
    if not fits or min(*objects, voc_objects) < 0:
        raise ValueError("not the matches of a category")
    return ClassMatches(
        int(category),
        tuple(map(float, scores)),
        tuple(tuple(map(int, of_area)) for of_area in hits),
        tuple(tuple(map(int, of_area)) for of_area in spared),
        tuple(map(int, objects)),
        tuple(map(int, voc)),
        int(voc_objects),
    )
