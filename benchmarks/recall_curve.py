"""Plot time against the number of masks, refined and coarse, from a results file.

`python -m benchmarks.recall_curve RESULTS.json --out curve.png`
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report import Record, read_records
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.outputs import MARK, require_writable

_FORMS = {"sharp_s": ("refined", "-"), "coarse_s": ("coarse", "--")}
_COLOURS = ("#1f4e8c", "#d1603d", "#3c8d5a", "#7a5195")


def draw(records: Sequence[Record]) -> Figure:
    """Draw a pair of curves for each model."""
    found = [record for record in records if record.group == "refinement"]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for index, model in enumerate(dict.fromkeys(record.info["model"] for record in found)):
        rows = sorted(
            (record.info for record in found if record.info["model"] == model),
            key=lambda info: int(info["proposals"]),
        )
        for key, (form, line) in _FORMS.items():
            axes.plot(
                [row["proposals"] for row in rows],
                [row[key] for row in rows],
                line,
                color=_COLOURS[index % len(_COLOURS)],
                marker="o",
                markersize=3,
                label=f"{model}, {form}",
            )
    axes.set_xlabel("masks")
    axes.set_ylabel("seconds an image of 640 x 480 (medians)")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="A file of benchmarks/results.")
    parser.add_argument("--out", type=Path, default=Path("curve.png"), help="Picture to write.")
    given = parser.parse_args()
    try:
        require_writable({"--out": [given.out]}, [given.results])
    except OneLineError as error:
        parser.error(str(error))
    records = read_records(given.results)
    if not any(record.group == "refinement" for record in records):
        parser.error(f"{given.results}: nothing refined in it; run pytest benchmarks/ --benchmark")
    mpl.use("Agg")
    draw(records).savefig(given.out, dpi=150, metadata={"Software": MARK})


if __name__ == "__main__":
    main()
