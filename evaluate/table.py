"""Print tables like the papers' table 1 and 2: measured rows above published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepmask.evaluate.published import TABLES

_HEADS = {"AR@10": "@10", "AR@100": "@100", "AR@1000": "@1k", "AUC": "AUC"}
_SIZE_HEADS = {"AUC_small": "AUC S", "AUC_medium": "AUC M", "AUC_large": "AUC L"}
_GROUPS = {"bbox": "box AR", "segm": "mask AR"}

Metrics = Mapping[str, Any]


def results_table(dataset: str, runs: Sequence[tuple[str, Metrics]], measured_on: str) -> str:
    """Return a table of measured runs with 95 % intervals, and the papers' rows below.

    runs         (name, content of `metrics.json`) in the order to print.
    measured_on  what was measured, for the line above the measured rows.
    """
    place, columns, published = TABLES[dataset]
    columns = tuple(c for c in columns if any(c[0] in metrics for _, metrics in runs))
    keep = [TABLES[dataset][1].index(column) for column in columns]
    rows: list[tuple[str, list[str]] | str] = [f"measured: {measured_on}"]
    for name, metrics in runs:
        rows.append((name, [figure(metrics.get(kind, {}).get(key)) for kind, key in columns]))
        bounds = [metrics.get(kind, {}).get("intervals", {}).get(key) for kind, key in columns]
        rows.append(("  95 % from", [figure(bound and bound[0]) for bound in bounds]))
        rows.append(("       to", [figure(bound and bound[1]) for bound in bounds]))
    rows.append(f"published, on other data ({place}); not comparable figure by figure:")
    for row in published:
        method = row.method if row.source == "DeepMask" else f"{row.method} ({row.source})"
        rows.append((method, [figure(row.values[index]) for index in keep]))
    return _layout(columns, rows)


def differences_table(
    columns: Sequence[tuple[str, str]], differences: Sequence[tuple[str, Metrics]]
) -> str:
    """Return runs' differences by metric, 95 % intervals below; a star where these exclude 0."""
    columns = tuple(c for c in columns if any(c[0] in change for _, change in differences))
    rows: list[tuple[str, list[str]] | str] = []
    for name, change in differences:
        bounds = [change.get(kind, {}).get("intervals", {}).get(key) for kind, key in columns]
        values = [change.get(kind, {}).get(key) for kind, key in columns]
        cells = [
            _signed(value) + ("*" if _excludes_zero(bound) else " ")
            for value, bound in zip(values, bounds, strict=True)
        ]
        rows.append((name, cells))
        rows.append(("  95 % from", [_signed(bound and bound[0]) + " " for bound in bounds]))
        rows.append(("       to", [_signed(bound and bound[1]) + " " for bound in bounds]))
    return _layout(columns, rows)


def sizes_table(runs: Sequence[tuple[str, Metrics]]) -> str:
    """Return what the papers' tables leave out: AR by object size, recall at one IoU, objects."""
    keys = [
        *(f"AR@{k}_{size}" for size in ("small", "medium", "large") for k in (10, 100, 1000)),
        *(f"recall@{k}_iou{iou}" for iou in (0.5, 0.7) for k in (10, 100, 1000)),
    ]
    lines = []
    for kind, group in _GROUPS.items():
        measured = [(name, metrics[kind]) for name, metrics in runs if kind in metrics]
        if not measured:
            continue
        width = max(20, *(len(name) for name, _ in measured))
        counts = "".join(f"{head:>7}" for head in ("@10", "@100", "@1k")) * 5
        parts = (f"{part:^21}" for part in ("small", "medium", "large", "IoU 0.5", "IoU 0.7"))
        lines.append(f"{group + ', recall':<{width}}" + "".join(parts).rstrip())
        lines.append(" " * width + counts)
        for name, values in measured:
            lines.append(f"{name:<{width}}" + "".join(f"{figure(values[k]):>7}" for k in keys))
    return "\n".join(lines)


def _layout(columns: Sequence[tuple[str, str]], rows: Sequence[tuple[str, list[str]] | str]) -> str:
    width = max(len(row[0]) for row in rows if not isinstance(row, str)) + 1
    heads = {**_HEADS, **_SIZE_HEADS}
    top, head = " " * width, " " * width
    for index, (kind, key) in enumerate(columns):
        first = index == 0 or columns[index - 1][0] != kind
        top += f"{'  | ' if first else ''}{_GROUPS[kind] if first else '':<7}"
        head += f"{'  | ' if first else ''}{heads[key]:>7}"
    lines = [top.rstrip(), head]
    for row in rows:
        if isinstance(row, str):
            lines += ["-" * len(head), row]
            continue
        line = f"{row[0]:<{width}}"
        for index, (kind, _) in enumerate(columns):
            first = index == 0 or columns[index - 1][0] != kind
            line += f"{'  | ' if first else ''}{row[1][index]:>7}"
        lines.append(line)
    return "\n".join(lines)


def _excludes_zero(bound: Sequence[float | None] | None) -> bool:
    if bound is None or bound[0] is None or bound[1] is None:
        return False
    return bound[0] > 0 or bound[1] < 0


def _signed(value: float | None) -> str:
    """Print -0.0312 as -.031."""
    return "-" if value is None else f"{value:+.3f}".replace("0.", ".", 1)


def figure(value: float | None) -> str:
    """Return 0.1534 as the papers print it: .153."""
    if value is None:
        return "-"
    return f"{value:.3f}".removeprefix("0")
