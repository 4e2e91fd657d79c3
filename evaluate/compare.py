"""Compare evaluations: one table, paired differences, one figure.

Everything is computed on the images that every folder has. Two methods tend to fail on the same
images, so the interval of their difference, resampled over these images, is far narrower than the
intervals of the two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.folder import COMPARISON_NAME, TABLE_NAME
from deepmask.evaluate.metrics import Floats, interval, measures, number_or_none, summary, total
from deepmask.evaluate.published import TABLES
from deepmask.evaluate.records import read_records, read_run, write_text
from deepmask.evaluate.table import differences_table, results_table, sizes_table
from deepmask.runtime.errors import counted


@dataclass(frozen=True)
class Comparison:
    """Runs on their common images: (name, metrics), and each later run minus the first."""

    images: int
    dataset: str
    annotations: str
    runs: list[tuple[str, dict[str, Any]]]
    differences: list[tuple[str, dict[str, Any]]]


def compare(folders: Sequence[Path]) -> Comparison:
    """Measure folders on the images that they share, and each against the first.

    Raises `EvalError` if their annotations differ or they share no image.
    """
    runs = [read_run(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        if run["annotations"] != runs[0]["annotations"]:
            raise EvalError(
                f"{folder}: was measured on {run['annotations']['name']}, {folders[0]} on "
                f"{runs[0]['annotations']['name']}, or on another version of it: compare runs on "
                "the same objects"
            )
    shared = set.intersection(*({r.image_id for r in read_records(f)} for f in folders))
    if not shared:
        raise EvalError("the folders have no image in common")
    names = _names(folders, runs)
    measured: list[tuple[str, dict[str, Any]]] = []
    differences: list[tuple[str, dict[str, Any]]] = []
    first: dict[str, dict[str, Floats]] = {}
    for name, folder, run in zip(names, folders, runs, strict=True):
        records = read_records(folder, run["kinds"])
        totals = total((r for r in records if r.image_id in shared), run["kinds"])
        found = {kind: measures(sums) for kind, sums in totals.items()}
        measured.append((name, {**{k: summary(s) for k, s in totals.items()}, "run": run}))
        if first:
            differences.append((name, _difference(first, found)))
        else:
            first = found
    return Comparison(
        len(shared), runs[0]["dataset"], runs[0]["annotations"]["name"], measured, differences
    )


def describe(comparison: Comparison) -> str:
    """Return the comparison's tables, as printed and kept in `table.txt`."""
    runs, first = comparison.runs, comparison.runs[0][0]
    columns = TABLES[comparison.dataset][1]
    place = f"{comparison.annotations}, {counted(comparison.images, 'images')} in all runs"
    return "\n".join(
        [
            results_table(comparison.dataset, runs, place),
            "",
            f"difference from {first} on the same images; * where its 95 % interval excludes 0",
            differences_table(columns, comparison.differences),
            "",
            sizes_table(runs),
        ]
    )


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write `comparison.json` and `table.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "images": comparison.images,
        "annotations": comparison.annotations,
        "runs": dict(comparison.runs),
        "minus": comparison.runs[0][0],
        "differences": dict(comparison.differences),
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_text(folder / COMPARISON_NAME, text)
    write_text(folder / TABLE_NAME, describe(comparison) + "\n")


def _difference(
    first: dict[str, dict[str, Floats]], other: dict[str, dict[str, Floats]]
) -> dict[str, Any]:
    """Return other − first by kind and metric, with paired 95 % intervals; NaN becomes None."""
    table: dict[str, Any] = {}
    for kind in first:
        if kind not in other:
            continue
        values = {name: other[kind][name] - first[kind][name] for name in first[kind]}
        table[kind] = {
            **{name: number_or_none(change[0]) for name, change in values.items()},
            "intervals": {
                name: [number_or_none(bound) for bound in interval(change[1:])]
                for name, change in values.items()
            },
        }
    return table


def _names(folders: Sequence[Path], runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the runs' names, with the folder added where two are the same."""
    names = [str(run["name"]) for run in runs]
    unique = [
        name if names.count(name) == 1 else f"{name} ({folder})"
        for name, folder in zip(names, folders, strict=True)
    ]
    if len(set(unique)) < len(unique):
        raise EvalError("the same folder is given twice")
    return unique
