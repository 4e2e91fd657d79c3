"""`log.csv`: what a run reports, one row a time; a resumed run continues it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from deepmask.runtime.io.atomic import atomic_write
from deepmask.train.recall import RECALLS

COLUMNS = (
    "step",
    "seconds",
    "patches_per_second",
    "learning_rate",
    "mask_loss",
    "score_loss",
    "val_mask_iou",
    "val_score_accuracy",
    *RECALLS,
)
_LONGEST_ROW = 10_000  # letters; the parser gives up on longer ones, and on zero bytes


class Log:
    """The log of a run; rows after the step resumed from are dropped first."""

    def __init__(self, path: Path, step: int) -> None:
        """`step` is 0 for a new run."""
        self._path = path
        self._kept = _rows(path, step) if step and path.is_file() else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self._kept)
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    def highest(self, column: str) -> float:
        """The highest value of a column in the rows of before the resumption; −∞ without one."""
        values = [_number(row.get(column, "")) for row in self._kept]
        return max((value for value in values if not math.isnan(value)), default=-math.inf)

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; columns that it lacks stay empty."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(
                {
                    name: value if isinstance(value, int) else f"{value:.6g}"
                    for name, value in row.items()
                }
            )


def brief(row: Mapping[str, float]) -> str:
    """A row for the terminal."""
    text = f"mask {row['mask_loss']:.4f} score {row['score_loss']:.4f}"
    text += f" {row['patches_per_second']:.0f} patches/s"
    if "val_mask_iou" in row:
        text += f" | val IoU {row['val_mask_iou']:.3f} score {row['val_score_accuracy']:.3f}"
    if RECALLS[0] in row:
        text += f" | AR@100 masks {row['segm_AR@100']:.3f} boxes {row['bbox_AR@100']:.3f}"
    return text


def _rows(path: Path, step: int) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        whole = (line for line in file if len(line) < _LONGEST_ROW and "\0" not in line)
        return [row for row in csv.DictReader(whole) if _is_row(row, step)]


def _is_row(row: dict[str, str], step: int) -> bool:
    """Whether a row read back is whole, which a killed run's last may not be, and not beyond.

    It may lack columns that did not exist when it was written.
    """
    whole = set(row) <= set(COLUMNS) and None not in row.values()
    return whole and row.get("step", "").isdecimal() and int(row["step"]) <= step


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
