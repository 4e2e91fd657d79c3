"""Images per second over a folder, as the command works through one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measure import durations, measure
from benchmarks.models import candidate
from benchmarks.scenes import COCO, write_picture
from deepmask.runtime.batch import Settings, expand, run_batch
from deepmask.runtime.deepmask import SHIPPED_MODEL, DeepMask
from deepmask.runtime.images import MAX_PIXELS
from deepmask.runtime.pyramid import MAX_SIDE
from deepmask.runtime.results import ResultsWriter

IMAGES = 8


@pytest.mark.benchmark(group="throughput")
def test_folder(recorded: BenchmarkFixture, cache: Path, threads: int, tmp_path: Path) -> None:
    """Decoding, network, encoding and writing of a folder of COCO-sized images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(IMAGES):
        write_picture(folder / f"{seed:012d}.jpg", COCO.height, COCO.width, seed)
    model = candidate(SHIPPED_MODEL, cache)
    paths = expand([folder])
    with DeepMask.load(model.folder, engine="onnxruntime", device="cpu", threads=threads) as opened:
        manifest = opened.manifest
        settings = Settings(
            proposals=1000,
            scales=manifest.scales,
            threshold=manifest.threshold,
            overlap=manifest.overlap,
            max_side=MAX_SIDE,
            max_pixels=MAX_PIXELS,
            top=20,
        )

        def run() -> int:
            with ResultsWriter(tmp_path / "proposals.json") as writer:
                outcomes = list(run_batch(opened, paths, [None] * IMAGES, settings, writer))
            return sum(not outcome.error for outcome in outcomes)

        done = measure(recorded, run, budget=1)
    assert set(done) == {IMAGES}
    recorded.extra_info |= {
        "what": f"folder of {IMAGES} images, {model.name}",
        "facts": {"images/s": round(IMAGES / float(np.median(durations(recorded))), 2)},
    }
