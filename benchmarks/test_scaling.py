"""Measure time and memory against the image's area and the number of proposals."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measure import measure, run_child
from benchmarks.models import candidate
from benchmarks.scenes import COCO, write_picture
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.shipped import SHIPPED_MODEL
from deepmask.runtime.predict.deepmask import DeepMask

#: Above any side measured here: the views must grow with the image.
NO_LIMIT = 4096


@pytest.mark.benchmark(group="scaling-area")
@pytest.mark.parametrize("times", [1, 2, 3], ids=["area-1", "area-4", "area-9"])
def test_area(
    recorded: BenchmarkFixture, times: int, cache: Path, threads: int, tmp_path: Path
) -> None:
    """Measure sides of 640×480 times 1, 2, 3."""
    height, width = COCO.height * times, COCO.width * times
    what = {"size": times**2, "what": f"{width}x{height}"}
    _measure(recorded, height, width, 1000, cache, threads, tmp_path)
    recorded.extra_info |= what


@pytest.mark.benchmark(group="scaling-proposals")
@pytest.mark.parametrize("proposals", [100, 1000, 5000])
def test_proposals(
    recorded: BenchmarkFixture, proposals: int, cache: Path, threads: int, tmp_path: Path
) -> None:
    """Measure 640×480 with more and more masks."""
    _measure(recorded, COCO.height, COCO.width, proposals, cache, threads, tmp_path)
    recorded.extra_info |= {"size": proposals, "what": str(proposals)}


@pytest.mark.benchmark(group="limited")
def test_twelve_megapixels(
    recorded: BenchmarkFixture, cache: Path, threads: int, tmp_path: Path
) -> None:
    """Measure 4000×3000 with defaults, which limit the longer side."""
    height, width = 3000, 4000
    _measure(recorded, height, width, 1000, cache, threads, tmp_path, None)
    info = recorded.extra_info
    info |= {
        "what": f"{width}x{height}, the model's longest side, {info['model']}",
        "facts": {"peak MiB": round(info["peak_mib"])},
    }


def _measure(
    benchmark: BenchmarkFixture,
    height: int,
    width: int,
    proposals: int,
    cache: Path,
    threads: int,
    folder: Path,
    max_side: int | None = NO_LIMIT,
) -> None:
    model = candidate(SHIPPED_MODEL, cache)
    picture = write_picture(folder / "picture.jpg", height, width)
    image = read_image(picture)
    with DeepMask.load(model.folder, engine="onnxruntime", device="cpu", threads=threads) as opened:
        # Those from the selection on: their time depends on the number of proposals.
        after_scores = opened.stages[opened.stages.index("select") :]

        def run() -> float:
            """Return the seconds after the last score, which depend on the proposals."""
            found = opened(image, proposals=proposals, max_side=max_side)
            start = time.perf_counter()
            found.to_coco(image_id=1)
            encode = time.perf_counter() - start
            return encode + sum(found.seconds.get(stage, 0.0) for stage in after_scores)

        after = measure(benchmark, run, budget=5)
    options = ["--proposals", str(proposals), "--threads", str(threads)]
    if max_side is not None:
        options += ["--max-side", str(max_side)]
    child = run_child([str(model.folder), str(picture), *options])
    benchmark.extra_info |= {
        "model": model.name,
        "after_s": float(np.median(after)),
        "peak_mib": child["peak_mib"],
        "results": child["results"],
    }
