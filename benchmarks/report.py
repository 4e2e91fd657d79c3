"""Print tables of this run's figures, or of a results file's.

`python -m benchmarks.report RESULTS.json` prints those of an earlier run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import fitted_exponent

#: Names that stages had in earlier files of results.
_STAGES = {"pyramid": "resize"}


@dataclass(frozen=True)
class Record:
    """A benchmark: its median in seconds, and the facts that its suite noted in `extra_info`."""

    name: str
    group: str
    median: float
    info: Mapping[str, Any]


def read_records(path: Path) -> list[Record]:
    """Read the records of a file that pytest-benchmark saved."""
    return records_of(json.loads(path.read_text(encoding="utf-8")))


def records_of(content: Mapping[str, Any]) -> list[Record]:
    """Return the records of such a file's content, stages by the names that they have today."""
    return [
        Record(one["name"], one["group"], one["stats"]["median"], _renamed(one["extra_info"]))
        for one in content["benchmarks"]
    ]


def _renamed(info: Mapping[str, Any]) -> Mapping[str, Any]:
    if "stages_ms" not in info:
        return info
    stages = {_STAGES.get(name, name): value for name, value in info["stages_ms"].items()}
    return {**info, "stages_ms": stages}


def compared_lines(when: str, earlier: Sequence[Record], records: Sequence[Record]) -> list[str]:
    """Print medians now and in an earlier run, of the benchmarks that both have."""
    before = {record.name: record.median for record in earlier}
    rows = [
        [r.name, f"{before[r.name]:.4f}", f"{r.median:.4f}", f"{r.median / before[r.name]:.2f}"]
        for r in records
        if r.name in before
    ]
    if not rows:
        return [f"the run of {when} has none of these benchmarks"]
    return _table(
        f"against the run of {when}; median seconds; under 1 is faster now",
        ["benchmark", "then", "now", "now/then"],
        rows,
    )


def report_lines(records: Sequence[Record]) -> list[str]:
    """Print all tables for which there are records."""
    lines: list[str] = []
    for make in (_latency, _stages, _baseline, _refinement, _encode, _scaling, _others):
        if made := make(records):
            lines += ["", *made]
    return lines


def _latency(records: Sequence[Record]) -> list[str]:
    """Print latency: ours, the paper's, the arithmetic, the machine's rate, and the distance."""
    rows = []
    for record in _of(records, "latency"):
        info, seconds = record.info, record.median
        p = info["percentiles_ms"]
        rows.append(
            [
                *(info["model"], info["precision"], f"{info['engine']} {info['device']}"),
                f"{info['width']}x{info['height']}",
                *(f"{seconds:.3f}", f"{p['p90'] / 1e3:.3f}", f"{p['p99'] / 1e3:.3f}"),
                *(f"{info['paper_s']:.1f}", f"{info['paper_s'] / seconds:.2f}"),
                *(f"{info['gflop']:.0f}", _maybe(info.get("matrix_gflop_s"), ".0f")),
                _maybe(info.get("times_above_floor"), ".2f"),
                _maybe(info.get("peak_mib"), ".0f"),
            ]
        )
    title = "image file to 1000 masks as RLE; seconds; paper on a K40m; floor = GFLOP / fp32 rate"
    head = ["model", "precision", "engine", "image", "median", "p90", "p99", "paper", "paper/ours"]
    return _table(title, [*head, "GFLOP", "GFLOP/s", "x floor", "peak MiB"], rows)


def _stages(records: Sequence[Record]) -> list[str]:
    latency = _of(records, "latency")
    if not latency:
        return []
    names = list(dict.fromkeys(name for r in latency for name in r.info["stages_ms"]))
    rows = [
        [
            *(r.info["model"], r.info["precision"], f"{r.info['engine']} {r.info['device']}"),
            f"{r.info['width']}x{r.info['height']}",
            *(f"{r.info['stages_ms'].get(name, 0):.1f}" for name in names),
        ]
        for r in latency
    ]
    return _table("stages, median ms", ["model", "precision", "engine", "image", *names], rows)


def _baseline(records: Sequence[Record]) -> list[str]:
    rows = [
        [
            *(r.info["model"], r.info.get("engine", "onnxruntime")),
            f"{r.info['width']}x{r.info['height']}",
            *(f"{r.median:.2f}", f"{r.info['ours_s']:.3f}", f"{r.info['ratio']:.1f}"),
        ]
        for r in _of(records, "baseline")
    ]
    return _table(
        "eager PyTorch, dense masks, full canvases (baseline.py), same random weights; seconds",
        ["model", "engine", "image", "baseline", "ours", "ratio"],
        rows,
    )


def _refinement(records: Sequence[Record]) -> list[str]:
    rows = [
        [
            *(str(r.info["model"]), str(r.info["proposals"])),
            *(f"{r.info['sharp_s']:.3f}", f"{r.info['coarse_s']:.3f}"),
            *(f"{r.info['ratio']:.2f}", f"{r.info['thesis_ratio']:.2f}"),
        ]
        for r in _of(records, "refinement")
    ]
    return _table(
        "refined and coarse masks in turns, 640x480; seconds; ratio of processor seconds",
        ["model", "masks", "refined", "coarse", "ratio", "thesis"],
        rows,
    )


def _encode(records: Sequence[Record]) -> list[str]:
    ways = _of(records, "encode")
    best = min((record.median for record in ways), default=0.0)
    rows = [
        [r.info["way"], f"{r.median * 1e3:.1f}", f"{r.median / best:.1f}"]
        for r in sorted(ways, key=lambda record: record.median)
    ]
    return _table("1000 masks of 640x480, logits to COCO RLE", ["way", "ms", "ratio"], rows)


def _scaling(records: Sequence[Record]) -> list[str]:
    lines: list[str] = []
    for group in ("scaling-area", "scaling-proposals"):
        found = sorted(_of(records, group), key=lambda record: float(record.info["size"]))
        rows = [
            [
                str(r.info["what"]),
                f"{r.median:.3f}",
                f"{r.info['after_s'] * 1e3:.1f}",
                _maybe(r.info.get("peak_mib"), ".0f"),
            ]
            for r in found
        ]
        if len(found) > 1:
            sizes = [float(r.info["size"]) for r in found]
            costs = [
                [r.median for r in found],
                [r.info["after_s"] for r in found],
                [r.info.get("peak_mib") for r in found],
            ]
            exponents = [None if None in c else fitted_exponent(sizes, c) for c in costs]
            rows.append(["exponent", *(_maybe(one, ".2f") for one in exponents)])
        head = [group.removeprefix("scaling-"), "seconds", "select to encode, ms", "peak MiB"]
        models = ", ".join({str(r.info.get("model", "deepmask-r18")): None for r in found})
        lines += _table(f"scaling with {head[0]}, {models}", head, rows)
    return lines


def _others(records: Sequence[Record]) -> list[str]:
    lines = []
    for record in (
        one for group in ("start", "limited", "throughput") for one in _of(records, group)
    ):
        facts = ", ".join(f"{key} {value}" for key, value in record.info["facts"].items())
        lines.append(f"{record.info['what']}: {record.median:.3f} s ({facts})")
    return lines


def _of(records: Sequence[Record], group: str) -> list[Record]:
    return [record for record in records if record.group == group]


def _maybe(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Print a title and right-aligned columns under it; nothing without rows."""
    if not rows:
        return []
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return [title, *lines]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.report RESULTS.json")
    print("\n".join(report_lines(read_records(Path(sys.argv[1])))))
