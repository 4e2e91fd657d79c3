"""Draw recall curves as the papers do: against number of proposals, by object size, against IoU.

Every figure takes any number of runs, so one run and a comparison are drawn alike. The functions
that draw import matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmask.evaluate.folder import COMPARISON_FIGURE, FIGURES
from deepmask.evaluate.metrics import COUNTS
from deepmask.evaluate.published import TABLES
from deepmask.runtime.distribution import NAME
from deepmask.runtime.io.atomic import remove_stale
from deepmask.runtime.io.written import write_known

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Runs = Sequence[tuple[str, Mapping[str, Any]]]

#: Okabe and Ito's colours, told apart with any colour vision; dashes begin when they run out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":")
TITLES = {"bbox": "Boxes", "segm": "Masks"}
SIZES = {"small": "small, < 32² px", "medium": "medium, 32²–96² px", "large": "large, > 96² px"}
#: The papers' rows drawn as points, with their marks.
POINTS = {"DeepMask": "o", "Selective Search": "s"}

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 10,
    "axes.labelcolor": "#333333",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "svg.hashsalt": "deepmask",
    "text.parse_math": False,  # a run's name may hold a dollar sign
}


_SOFTWARE = f"made by {NAME}"
#: Options of a picture file by its suffix; no date, so that equal figures are equal files.
_FORMATS: Mapping[str, dict[str, Any]] = {
    ".png": {"dpi": 160, "metadata": {"Software": _SOFTWARE}},
    ".svg": {"metadata": {"Date": None, "Creator": _SOFTWARE}},
}


def draw_run(folder: Path, name: str, metrics: Mapping[str, Any]) -> list[Path]:
    """Draw the three figures of one run, as PNG and SVG in `folder`; return their paths."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        runs = [(name, metrics)]
        figures = (
            _figure_row(_panel_proposals, runs, _kinds(runs)),
            _figure_row(_panel_size, runs, list(SIZES)),
            _figure_iou(name, metrics),
        )
        saved = [_save(one, folder / stem) for stem, one in zip(FIGURES, figures, strict=True)]
        return [path for paths in saved for path in paths]


def draw_recall(path: Path, runs: Runs) -> None:
    """Draw AR against number of proposals, boxes beside masks, to a .png or .svg file."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figure = _figure_row(_panel_proposals, runs, _kinds(runs))
        _lay_out(figure)
        _write(figure, path)


def draw_comparison(folder: Path, runs: Runs) -> list[Path]:
    """Draw several runs in one figure, as PNG and SVG in `folder`; return their paths."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        return _save(_figure_comparison(runs), folder / COMPARISON_FIGURE)


def _figure_row(panel: Callable[[Axes, Runs, str], None], runs: Runs, what: list[str]) -> Figure:
    figure, axes = _canvas(1, len(what))
    for axis, one in zip(axes[0], what, strict=True):
        panel(axis, runs, one)
    _legend(figure, axes[0][0])
    return figure


def _figure_iou(name: str, metrics: Mapping[str, Any]) -> Figure:
    figure, axes = _canvas(1, len(COUNTS))
    for axis, count in zip(axes[0], COUNTS, strict=True):
        for index, kind in enumerate(_kinds([(name, metrics)])):
            _draw_iou(axis, metrics, kind, count, f"{name}, {TITLES[kind].lower()}", index)
        axis.set_title(f"{count} proposals")
    _legend(figure, axes[0][0])
    return figure


def _figure_comparison(runs: Runs) -> Figure:
    figure, axes = _canvas(3, 3)
    kinds = _kinds(runs)
    for axis, kind in zip(axes[0], kinds, strict=False):
        _panel_proposals(axis, runs, kind)
    for axis in axes[0][len(kinds) :]:
        axis.set_axis_off()
    handles, labels = axes[0][0].get_legend_handles_labels()
    axes[0][2].legend(handles, labels, loc="upper left")
    for axis, size in zip(axes[1], SIZES, strict=True):
        _panel_size(axis, runs, size)
    for axis, count in zip(axes[2], COUNTS, strict=True):
        for index, (name, metrics) in enumerate(runs):
            if kinds[-1] in metrics:
                _draw_iou(axis, metrics, kinds[-1], count, name, index)
        axis.set_title(f"{TITLES[kinds[-1]]}, {count} proposals")
    return figure


def _canvas(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure whose panels share the vertical axis within a row, so that heights compare."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.3 + 3.1 * columns, 0.4 + 2.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey="row")
    return figure, [list(row) for row in axes]


def _legend(figure: Figure, axis: Axes) -> None:
    """Put one legend above the panels."""
    handles, labels = axis.get_legend_handles_labels()
    ncols = min(len(figure.axes), len(labels))
    figure.legend(handles, labels, loc="outside upper left", ncols=ncols)


def _panel_proposals(axis: Axes, runs: Runs, kind: str) -> None:
    """Draw AR against number of proposals, with the papers' figures as points."""
    _draw_counts(axis, runs, kind, "AR")
    dataset = runs[0][1]["run"]["dataset"]
    place, columns, rows = TABLES[dataset]
    for row in reversed(rows):
        if row.source == "DeepMask" and row.method in POINTS:
            values = [row.values[columns.index((kind, f"AR@{count}"))] for count in COUNTS]
            axis.plot(
                COUNTS,
                _plottable(values),
                POINTS[row.method],
                color="#777777",
                markerfacecolor="none",
                markersize=5,
                clip_on=False,
                label=f"{row.method}, published on {place.split(',')[0]}",
            )
    axis.set_title(TITLES[kind])


def _panel_size(axis: Axes, runs: Runs, size: str) -> None:
    """Draw AR against number of proposals, for objects of one size."""
    kind = _kinds(runs)[-1]
    _draw_counts(axis, runs, kind, f"AR_{size}")
    axis.set_title(f"{TITLES[kind]}, {SIZES[size]}")


def _draw_counts(axis: Axes, runs: Runs, kind: str, key: str) -> None:
    for index, (name, metrics) in enumerate(runs):
        if kind not in metrics:
            continue
        curves = metrics[kind]["curves"]
        counts, values = curves["proposals"], _plottable(curves[key])
        line = _style(index)
        axis.plot(counts, values, label=name, **line)
        low, high = zip(*curves[f"{key}_interval"], strict=True)
        axis.fill_between(
            counts, _plottable(low), _plottable(high), color=line["color"], alpha=0.15, linewidth=0
        )
    axis.set_xscale("log")
    axis.set_xlim(1, 1000)
    axis.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    axis.minorticks_off()
    axis.set_xlabel("proposals")
    _label_left(axis, "average recall")


def _draw_iou(
    axis: Axes, metrics: Mapping[str, Any], kind: str, count: int, label: str, index: int
) -> None:
    """Draw recall against IoU at one number of proposals."""
    curves = metrics[kind]["curves"]
    axis.plot(curves["iou"], _plottable(curves[f"recall@{count}"]), label=label, **_style(index))
    axis.set_xlim(0.5, 0.95)
    axis.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9])
    axis.set_ylim(0, 1)
    axis.set_xlabel("IoU")
    _label_left(axis, "recall")


def _kinds(runs: Runs) -> list[str]:
    """Return "bbox", and "segm" if any run has masks."""
    return [kind for kind in TITLES if any(kind in metrics for _, metrics in runs)]


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
        "linewidth": 1.8,
    }


def _plottable(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _label_left(axis: Axes, text: str) -> None:
    """Name the vertical axis once in each row, whose panels share it."""
    place = axis.get_subplotspec()
    axis.set_ylabel(text if place is None or place.is_first_col() else "")


def _save(figure: Figure, stem: Path) -> list[Path]:
    _lay_out(figure)
    paths = [stem.with_name(stem.name + suffix) for suffix in _FORMATS]
    for path in paths:
        _write(figure, path)
    return paths


def _lay_out(figure: Figure) -> None:
    for axis in figure.axes:
        axis.set_ylim(bottom=0)  # only now that a row has all its curves
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _write(figure: Figure, path: Path) -> None:
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix[1:], **_FORMATS[path.suffix])
    write_known(path, file.getvalue())
    remove_stale(path)
