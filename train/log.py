"""Write `log.csv`, one row for each report of a run; a resumed run continues it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deepmask.networks.family import AnyFamily
from deepmask.runtime.io.atomic import atomic_write
from deepmask.train.recall import RECALLS

#: The columns that every log has, before those of the losses.
FIRST = ("step", "seconds", "{units}_per_second", "learning_rate")
_LONGEST_ROW = 10_000  # letters; the parser gives up on longer ones, and on zero bytes


def columns(family: AnyFamily, losses: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a family's log: progress, losses, validation, average recall."""
    measures = family.validation.measures if family.validation else ()
    return (
        *(name.format(units=family.units) for name in FIRST),
        *(f"{name}_loss" for name in losses),
        *(f"val_{name}" for name in measures),
        *RECALLS,
    )


class Log:
    """The log of a run; rows after the step resumed from are dropped first."""

    def __init__(self, path: Path, step: int, columns: Sequence[str]) -> None:
        """`step` is 0 for a new run."""
        self._path = path
        self._columns = columns
        self._kept = _rows(path, step, columns) if step and path.is_file() else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self._kept)
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    def highest(self, column: str) -> float:
        """Return the highest value of a column before the run was resumed; −∞ without one."""
        values = [_number(row.get(column, "")) for row in self._kept]
        return max((value for value in values if not math.isnan(value)), default=-math.inf)

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; columns that it lacks, or has no number for, stay empty."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            numbers = {k: v for k, v in row.items() if not math.isnan(v)}
            shown = {k: v if isinstance(v, int) else f"{v:.6g}" for k, v in numbers.items()}
            csv.DictWriter(file, self._columns).writerow(shown)


def brief(row: Mapping[str, float]) -> str:
    """Return the losses, speed, measures and main recalls of a row, for the terminal.

    What has no number is left out: a loss that no step had, a measure of what there is none of.
    """
    row = {k: v for k, v in row.items() if not math.isnan(v)}
    parts = [f"{k.removesuffix('_loss')} {row[k]:.4f}" for k in row if k.endswith("_loss")]
    rates = {k.split("_")[0]: row[k] for k in row if k.endswith("_per_second")}
    parts += [f"{rate:.{0 if rate >= 10 else 1}f} {things}/s" for things, rate in rates.items()]
    measures = [f"{k.removeprefix('val_')} {row[k]:.3f}" for k in row if k.startswith("val_")]
    if measures:
        parts += ["| val", *measures]
    kinds = {"masks": "segm_AR@100", "boxes": "bbox_AR@100"}
    if recalls := [f"{kind} {row[name]:.3f}" for kind, name in kinds.items() if name in row]:
        parts += ["| AR@100", *recalls]
    return " ".join(parts)


def _rows(path: Path, step: int, columns: Sequence[str]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        whole = (line for line in file if len(line) < _LONGEST_ROW and "\0" not in line)
        return [row for row in csv.DictReader(whole) if _is_row(row, step, columns)]


def _is_row(row: dict[str, str], step: int, columns: Sequence[str]) -> bool:
    # A killed run's last row may not be whole; earlier ones may lack columns that came later.
    whole = set(row) <= set(columns) and None not in row.values()
    return whole and row.get("step", "").isdecimal() and int(row["step"]) <= step


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
