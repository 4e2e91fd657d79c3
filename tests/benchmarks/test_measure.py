"""Percentiles, exponents, rounds, the machine's rate and its description."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import matrix_rate
from benchmarks.machine import describe_machine
from benchmarks.measure import (
    LEAST_ROUNDS,
    MOST_ROUNDS,
    fitted_exponent,
    percentiles_ms,
    rounds_in,
    run_child,
)
from benchmarks.scenes import Size, draw_masks, draw_picture, write_picture
from benchmarks.test_encode import WAYS
from tests.benchmarks.conftest import Exports


def test_percentiles_are_of_the_data_and_in_milliseconds() -> None:
    seconds = np.random.default_rng(0).permutation(np.arange(101)) / 1000
    assert percentiles_ms(seconds.tolist()) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_exponent_of_a_power_law(exponent: float) -> None:
    sizes = [1.0, 4.0, 9.0]
    assert fitted_exponent(sizes, [3 * size**exponent for size in sizes]) == pytest.approx(exponent)


def test_rounds_fill_the_budget_within_bounds() -> None:
    assert rounds_in(10, 0.5) == 20
    assert rounds_in(10, 60) == LEAST_ROUNDS
    assert rounds_in(10, 1e-6) == MOST_ROUNDS


def test_matrix_rate_is_operations_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_rate, "SIDE", 64)
    monkeypatch.setattr(matrix_rate, "_SECONDS", 0.01)
    rates = matrix_rate.matrix_rates(threads=1)
    assert set(rates) == {"onnxruntime", "torch"}
    assert all(0.01 < rate < 10_000 for rate in rates.values())


def test_matrix_rate_of_a_known_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.75, 99.0])  # products of 0.5 s and of 0.25 s
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert matrix_rate._best_rate(lambda: None) == pytest.approx(2e-9 * matrix_rate.SIDE**3 / 0.25)


def test_the_machine_is_described_without_its_name() -> None:
    described = describe_machine()
    text = json.dumps(described)
    assert described["cores"] >= 1
    assert described["libraries"]["onnxruntime"]
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text


def test_every_way_of_encoding_gives_the_same_text() -> None:
    size = Size("small", 120, 160, 0.0)
    logits, boxes = draw_masks(20, size.height, size.width)
    first, *others = (way(logits, boxes, size) for way in WAYS.values())
    assert len(set(first)) > 5
    assert all(other == first for other in others)


def test_pictures_are_of_their_size_and_differ() -> None:
    assert draw_picture(48, 64).shape == (48, 64, 3)
    assert (draw_picture(48, 64, 0) != draw_picture(48, 64, 1)).any()


def test_one_image_in_a_process_of_its_own(exports: Exports, tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "picture.jpg", 60, 80)
    folder, _ = exports["shared"]
    found = run_child([str(folder), str(picture), "--proposals", "5", "--threads", "1"])
    assert 0 < found["results"] <= 5
    assert 20 < found["peak_mib"] < 4000
    assert all(found[key] > 0 for key in ("import_s", "load_s", "first_image_s"))


def test_memory_does_not_grow_with_a_photograph_of_twelve_megapixels(
    exports: Exports, tmp_path: Path
) -> None:
    """Beyond the decoded pixels and their copies: the views' size is bounded by max_side."""
    folder, _ = exports["shared"]
    peaks = []
    for name, (height, width) in (("small", (120, 160)), ("large", (3000, 4000))):
        ramp = np.linspace(0, 255, width).astype(np.uint8)
        picture = np.broadcast_to(ramp[None, :, None], (height, width, 3))
        path = tmp_path / f"{name}.jpg"
        Image.fromarray(np.ascontiguousarray(picture)).save(path)
        options = ["--proposals", "50", "--threads", "1", "--max-side", "160"]
        peaks.append(run_child([str(folder), str(path), *options])["peak_mib"])
    pixels = 3000 * 4000 * 3 / 2**20
    assert peaks[1] < peaks[0] + 4 * pixels


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"model\.json"):
        run_child([str(tmp_path), str(tmp_path / "none.jpg")])
