"""Time one image from file to run lengths: every model on every engine of this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache as cached
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.flops import plan_gflop
from benchmarks.matrix_rate import matrix_rates
from benchmarks.measure import measure, run_child
from benchmarks.models import Candidate
from benchmarks.scenes import SIZES, Size, write_picture
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.choose import ENGINES, choose
from deepmask.runtime.io.images import read_image
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.views.views import plan_views

PROPOSALS = 1000

_rates = cached(matrix_rates)


@pytest.mark.benchmark(group="latency")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("engine", [e for e in ENGINES if e != "auto"])
def test_latency(
    recorded: BenchmarkFixture,
    model: Candidate,
    engine: str,
    device: str,
    size: Size,
    threads: int,
    tmp_path: Path,
) -> None:
    """Measure percentiles of the whole, medians of the stages, and the distance to the floor."""
    try:
        choose(engine, device)
    except EngineError as error:
        pytest.skip(str(error))
    picture = write_picture(tmp_path / "picture.jpg", size.height, size.width)
    with DeepMask.load(model.folder, engine=engine, device=device, threads=threads) as opened:
        rounds = measure(recorded, lambda: run_image(opened, picture))
        manifest, stages = opened.manifest, opened.stages
    factors = manifest.views.scales.factors()
    views = plan_views(size.height, size.width, factors, manifest.views)
    gflop = plan_gflop(model.folder, manifest, views, PROPOSALS)
    options = ["--engine", engine, "--device", device, "--threads", str(threads)]
    recorded.extra_info |= {
        "model": model.name,
        "weights": model.weights,
        "precision": manifest.precision,
        "engine": engine,
        "device": device,
        "threads": threads,
        "width": size.width,
        "height": size.height,
        "proposals": PROPOSALS,
        "paper_s": size.paper_seconds,
        "stages_ms": {
            stage: round(1e3 * float(np.median([one[stage] for one in rounds])), 3)
            for stage in stages
        },
        "gflop": round(sum(gflop.values()), 2),
        "gflop_by_graph": {name: round(value, 2) for name, value in gflop.items()},
        "peak_mib": run_child([str(model.folder), str(picture), *options])["peak_mib"],
    }
    if device == "cpu":
        rates = _rates(threads)
        rate = max(rates.values())
        total = float(np.median([sum(one.values()) for one in rounds]))
        network = sum(recorded.extra_info["stages_ms"].get(stage, 0) for stage in gflop) / 1e3
        recorded.extra_info |= {
            "matrix_gflop_s": round(rate, 1),
            "matrix_gflop_s_by_library": {name: round(value, 1) for name, value in rates.items()},
            "times_above_floor": round(total * rate / sum(gflop.values()), 3),
            "network_times_above_floor": round(network * rate / sum(gflop.values()), 3),
        }


def run_image(model: DeepMask, picture: Path) -> Mapping[str, float]:
    """Run an image from file to COCO results; return the seconds of each stage."""
    start = time.perf_counter()
    image = read_image(picture)
    decoded = time.perf_counter()
    proposals = model(image, proposals=PROPOSALS)
    found = time.perf_counter()
    proposals.to_coco(image_id=1)
    encoded = time.perf_counter()
    seconds = {"decode": decoded - start, **proposals.seconds}
    seconds["encode"] = seconds.get("encode", 0.0) + encoded - found
    return seconds
