"""Check a folder that an evaluation or comparison is to be written to, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deepmask.evaluate.errors import EvalError, EvalUsageError
from deepmask.evaluate.records import RECORDS_NAME, RUN_NAME, read_records, read_run
from deepmask.runtime.io.outputs import require_folder
from deepmask.runtime.io.written import Written

METRICS_NAME = "metrics.json"
TABLE_NAME = "table.txt"
SHEET_NAME = "contact-sheet.jpg"
TILES_FOLDER = "tiles"
COMPARISON_NAME = "comparison.json"
#: Figures of a run and of a comparison, each written as PNG and SVG.
FIGURES = ("ar-proposals", "ar-sizes", "recall-iou")
COMPARISON_FIGURE = "comparison"


def require_evaluation_folder(folder: Path) -> None:
    """Raise `EvalError` unless an evaluation may be written to `folder`, which may be new.

    It may hold an earlier evaluation and other files, but none that is not an evaluation's under a
    name that one needs. Raises `UnwritableError` where nothing can be written.
    """
    require_folder("--out", folder)
    if not (_is_evaluation(folder) or _holds_records_only(folder)):
        names = [RUN_NAME, RECORDS_NAME, METRICS_NAME, TABLE_NAME, SHEET_NAME, TILES_FOLDER]
        _require_free(folder, [*names, *_pictures(*FIGURES)])


def require_comparison_folder(folder: Path, runs: Sequence[Path]) -> None:
    """Raise `EvalError` unless a comparison of `runs` may be written to `folder`.

    An evaluation's folder has a table of its own, so it cannot be one of `runs`.
    """
    require_folder("--out", folder)
    if (folder / RUN_NAME).exists():
        raise EvalUsageError(f"{folder}: holds an evaluation, with a table: choose another --out")
    if folder.exists() and any(folder.samefile(run) for run in runs):
        raise EvalUsageError(f"{folder}: is compared: choose another --out")
    _require_free(folder, [COMPARISON_NAME, TABLE_NAME, *_pictures(COMPARISON_FIGURE)])


def _is_evaluation(folder: Path) -> bool:
    with suppress(EvalError):
        return bool(read_run(folder))
    return False


def _holds_records_only(folder: Path) -> bool:
    """Tell whether a killed `merge` left a folder: its records come before everything else."""
    if (folder / RUN_NAME).exists():
        return False
    with suppress(EvalError, StopIteration):
        return bool(next(read_records(folder)))
    return False


def _pictures(*stems: str) -> list[str]:
    return [f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")]


def _require_free(folder: Path, names: Sequence[str]) -> None:
    """Raise `EvalUsageError` for a file that would be replaced, and is not as it was written."""
    written = Written()
    for name in names:
        path = folder / name
        if path.exists() and not (path.is_file() and written.has(path)):
            raise EvalUsageError(
                f"{path}: exists and was not made by deepmask-eval, or was changed since: "
                "choose another --out"
            )
