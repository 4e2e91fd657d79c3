"""Plot stage times as a stacked bar for each model and precision, with the paper's line.

`python -m benchmarks.plot [RESULTS.json] [--out latency.png]`: by default the newest file of
`benchmarks/results`.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report import Record, read_records
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.outputs import require_writable
from deepmask.runtime.io.written import write_known

RESULTS = Path(__file__).parent / "results"

#: One colour a stage, in the order they happen; the network's three graphs are the blues.
COLOURS = {
    "decode": "#999999",
    "resize": "#e6b450",
    "trunk": "#1f4e8c",
    "score": "#4a86c8",
    "select": "#7a5195",
    "mask": "#9cc3e6",
    "encode": "#d1603d",
}


def draw(records: Sequence[Record]) -> Figure:
    """Draw a panel for each image size."""
    latency = [record for record in records if record.group == "latency"]
    sizes = sorted({(r.info["width"], r.info["height"]) for r in latency}, reverse=True)
    figure = Figure(figsize=(9, 1.2 + 0.27 * len(latency)), layout="constrained")
    for index, size in enumerate(sizes):
        axes = figure.add_subplot(len(sizes), 1, index + 1)
        rows = [r for r in latency if (r.info["width"], r.info["height"]) == size]
        labels = [_label(record) for record in rows]
        left = [0.0] * len(rows)
        for stage, colour in COLOURS.items():
            width = [_seconds(record, stage) for record in rows]
            axes.barh(labels, width, left=left, color=colour, label=stage)
            left = [a + b for a, b in zip(left, width, strict=True)]
        paper = rows[0].info["paper_s"]
        axes.axvline(paper, color="black", linestyle="--", linewidth=1)
        axes.annotate(
            f" paper, K40m: {paper} s",
            (paper, 1.02),
            xycoords=("data", "axes fraction"),
            fontsize=8,
        )
        axes.set_title(f"{size[0]} x {size[1]}", loc="left", fontsize=10)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        if index == len(sizes) - 1:
            axes.set_xlabel("seconds an image, file to 1000 masks as RLE (medians)")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8)
    return figure


def _seconds(record: Record, stage: str) -> float:
    """Return the time of a stage, or of its parts: "mask-a" and "mask-b" are a model's "mask"."""
    times: dict[str, float] = record.info["stages_ms"]
    return sum(value for name, value in times.items() if name.split("-")[0] == stage) / 1e3


def _label(record: Record) -> str:
    """Name model, precision, engine, and the device if it is not the CPU."""
    info = record.info
    model = str(info["model"]).removesuffix(f"-{info['precision']}")
    where = "" if info["device"] == "cpu" else f" on {info['device']}"
    return f"{model}, {info['precision']}, {info['engine']}{where}"


def newest(folder: Path) -> Path | None:
    """Return the results file with the highest number, or None; they are `*/0001_name.json`."""
    return max(folder.glob("*/[0-9]*_*.json"), key=lambda path: path.name, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", help="A file of benchmarks/results.")
    parser.add_argument("--out", type=Path, default=Path("latency.png"), help="Picture to write.")
    given = parser.parse_args()
    path = given.results or newest(RESULTS)
    if path is None:
        parser.error(f"no results in {RESULTS.name}/ yet; run pytest benchmarks/ --benchmark")
    try:
        require_writable({"--out": [given.out]}, [path], force=None)
    except OneLineError as error:
        parser.error(str(error))
    records = read_records(path)
    if not any(record.group == "latency" for record in records):
        parser.error(f"{path}: no latencies in it; run pytest benchmarks/ --benchmark")
    mpl.use("Agg")
    picture = io.BytesIO()
    draw(records).savefig(picture, dpi=150, format=given.out.suffix[1:] or "png")
    write_known(given.out, picture.getvalue())


if __name__ == "__main__":
    main()
