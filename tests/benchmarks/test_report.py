"""The printed tables and the plot, from figures made up here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from benchmarks import plot
from benchmarks.report import Record, compared_lines, read_records, records_of, report_lines

LATENCY: dict[str, Any] = {
    "model": "deepmask-r18",
    "precision": "fp32",
    "engine": "onnxruntime",
    "device": "cpu",
    "width": 640,
    "height": 480,
    "paper_s": 1.6,
    "stages_ms": {"decode": 5.0, "trunk": 300.0, "score": 90.0, "encode": 5.0},
    "gflop": 200.0,
    "matrix_gflop_s": 800.0,
    "times_above_floor": 1.6,
    "peak_mib": 321.0,
    "percentiles_ms": {"p50": 400.0, "p90": 410.0, "p99": 450.0},
}


def test_latency_row() -> None:
    lines = report_lines([Record("a", "latency", 0.4, LATENCY)])
    (row,) = (line for line in lines if "640x480" in line and "0.400" in line)
    assert row.split() == [
        *("deepmask-r18", "fp32", "onnxruntime", "cpu", "640x480", "0.400", "0.410", "0.450"),
        *("1.6", "4.00", "200", "800", "1.60", "321"),
    ]
    (stages,) = (line for line in lines if "300.0" in line)
    assert stages.split()[-4:] == ["5.0", "300.0", "90.0", "5.0"]


def test_stages_of_several_models_stand_in_one_table() -> None:
    """Of another model there may be others; the plot joins those of windows of two sizes."""
    times = {"decode": 5.0, "score": 200.0, "mask-a": 40.0, "mask-b": 60.0}
    other = {**LATENCY, "model": "fpn-lite", "stages_ms": times}
    records = [Record("a", "latency", 0.4, LATENCY), Record("b", "latency", 0.3, other)]
    lines = report_lines(records)
    (head,) = (line for line in lines if "mask-a" in line)
    names = ["decode", "trunk", "score", "encode", "mask-a", "mask-b"]
    assert head.split()[-6:] == names
    (stages,) = (line for line in lines if line.split()[-1:] == ["60.0"])
    assert stages.split()[-6:] == ["5.0", "0.0", "200.0", "0.0", "40.0", "60.0"]
    bars = bars_of(plot.draw([records[1]]).axes[0])
    assert sum(bar.get_width() for bar in bars) == pytest.approx(0.305)


def test_scaling_prints_its_exponents() -> None:
    records = [
        Record(str(n), "scaling-area", 0.1 * n, info(n, after=0.02, peak=100.0 * n**0.5))
        for n in (1, 4, 9)
    ]
    lines = report_lines(records)
    assert lines[-1].split() == ["exponent", "1.00", "0.00", "0.50"]


def info(size: float, after: float, peak: float) -> dict[str, Any]:
    return {"size": size, "what": f"x{size}", "after_s": after, "peak_mib": peak}


def test_baseline_and_start() -> None:
    numbers = {"model": "m", "width": 640, "height": 480, "ours_s": 0.5, "ratio": 8.0}
    lines = report_lines(
        [
            Record("a", "baseline", 4.0, numbers),
            Record("b", "start", 1.25, {"what": "cold", "facts": {"import_s": 0.2}}),
        ]
    )
    assert any(line.split()[2:] == ["640x480", "4.00", "0.500", "8.0"] for line in lines)
    assert "cold: 1.250 s (import_s 0.2)" in lines


def test_refinement_stands_beside_the_thesis() -> None:
    shared = {"model": "sharpmask-r18", "coarse_s": 1.0, "ratio": 1.29, "thesis_ratio": 1.65}
    rows = [
        Record(
            str(count),
            "refinement",
            2.0,
            {**shared, "proposals": count, "sharp_s": 1.2 + count / 1000},
        )
        for count in (100, 1000)
    ]
    lines = report_lines(rows)
    assert lines[-1].split() == ["sharpmask-r18", "1000", "2.200", "1.000", "1.29", "1.65"]


def test_an_earlier_run_stands_beside_with_ratios() -> None:
    now = [Record("a", "latency", 0.3, {}), Record("b", "start", 2.0, {})]
    lines = compared_lines("yesterday", [Record("a", "latency", 0.4, {})], now)
    assert "yesterday" in lines[0]
    assert [line.split() for line in lines[2:]] == [["a", "0.4000", "0.3000", "0.75"]]
    (told,) = compared_lines("yesterday", [Record("c", "start", 1.0, {})], now)
    assert "none of these" in told


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A file as pytest-benchmark saves it."""
    benchmark = {"name": "a", "group": "latency", "extra_info": LATENCY}
    benchmark["stats"] = {"median": 0.4}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"benchmarks": [benchmark]}))
    return path


def test_a_saved_file_reads_back(results: Path) -> None:
    assert read_records(results) == [Record("a", "latency", 0.4, LATENCY)]


def test_stages_of_earlier_files_have_their_names_of_today(results: Path) -> None:
    """Scaling was called the pyramid."""
    content = json.loads(results.read_text())
    content["benchmarks"][0]["extra_info"] = {
        **LATENCY,
        "stages_ms": {"decode": 5.0, "pyramid": 20.0, "trunk": 300.0},
    }
    (record,) = records_of(content)
    assert list(record.info["stages_ms"].items()) == [
        *(("decode", 5.0), ("resize", 20.0), ("trunk", 300.0))
    ]
    bars = bars_of(plot.draw([record]).axes[0])
    assert sum(bar.get_width() for bar in bars) == pytest.approx(0.325)


def bars_of(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_plot_stacks_stages_and_draws_the_paper(results: Path, tmp_path: Path) -> None:
    figure = plot.draw(read_records(results))
    (axes,) = figure.axes
    bars = [bar for bar in bars_of(axes) if bar.get_width()]
    assert sum(bar.get_width() for bar in bars) == pytest.approx(0.4)
    assert max(bar.get_x() + bar.get_width() for bar in bars) == pytest.approx(0.4)
    assert [np.asarray(line.get_xdata())[0] for line in axes.lines] == [1.6]
    figure.savefig(tmp_path / "plot.png")
    assert imread(tmp_path / "plot.png").shape[2] == 4


def test_the_newest_results_are_those_with_the_highest_number(tmp_path: Path) -> None:
    assert plot.newest(tmp_path) is None
    for name in ("0002_b.json", "0010_a.json", "0009_c.json"):
        (tmp_path / "machine").mkdir(exist_ok=True)
        (tmp_path / "machine" / name).touch()
    newest = plot.newest(tmp_path)
    assert newest is not None
    assert newest.name == "0010_a.json"
