"""Merge the shards of an evaluation into one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.folder import TILES_FOLDER, require_evaluation_folder
from deepmask.evaluate.records import (
    RECORDS_NAME,
    RUN_NAME,
    RecordWriter,
    read_records,
    read_run,
    write_run,
)


def merge(folders: Sequence[Path], out: Path) -> None:
    """Write the records of `folders`, shards of one run, into the new folder `out`.

    Missing shards are allowed; the report then says that it is partial. Raises `EvalError` if they
    are not shards of the same run, if one is given twice, or if `out` already holds records.
    """
    runs = [read_run(folder) for folder in folders]
    shared = [{k: v for k, v in run.items() if k not in ("shard", "images")} for run in runs]
    given: dict[int, Path] = {}
    for folder, run, rest in zip(folders, runs, shared, strict=True):
        differing = sorted(k for k in shared[0] if rest.get(k) != shared[0][k])
        if differing or run["shard"][1] != runs[0]["shard"][1]:
            what = ", ".join(differing) or "the number of shards"
            raise EvalError(f"{folder} is no shard of the run in {folders[0]}: {what} differs")
        before = given.setdefault(run["shard"][0], folder)
        if before is not folder:
            raise EvalError(f"{before} and {folder} are the same shard, {run['shard'][0]}")
    if (out / RUN_NAME).exists():
        raise EvalError(f"{out}: already holds an evaluation: choose another --out")
    require_evaluation_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / RECORDS_NAME).unlink(missing_ok=True)  # run.json comes last: a merge was cut short
    whole: dict[str, Any] = {**runs[0], "shard": [1, 1], "images": runs[0]["images_of_all_shards"]}
    images = 0
    with RecordWriter(out) as writer:
        for folder in folders:
            for record in read_records(folder, whole["kinds"]):
                writer.write(record)
                images += 1
    if not images:
        raise EvalError("the parts hold no images: nothing was measured")
    for folder in folders:
        for tile in sorted((folder / TILES_FOLDER).glob("*.png")):
            (out / TILES_FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(tile, out / TILES_FOLDER / tile.name)
    write_run(out, whole)
