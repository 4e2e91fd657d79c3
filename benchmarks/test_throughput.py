"""Measure images per second over a folder, as the command works through one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measure import LEAST_ROUNDS, durations
from benchmarks.models import candidate
from benchmarks.scenes import COCO, write_picture
from deepmask.runtime.cli.batch import Settings, run_batch
from deepmask.runtime.cli.inputs import expand
from deepmask.runtime.io.images import MAX_PIXELS, read_image
from deepmask.runtime.io.results import ResultsWriter, image_ids
from deepmask.runtime.model.shipped import SHIPPED_MODEL
from deepmask.runtime.predict.deepmask import DeepMask

IMAGES = 8


@pytest.mark.benchmark(group="throughput")
def test_folder(
    recorded: BenchmarkFixture, cpu_engine: str, cache: Path, threads: int, tmp_path: Path
) -> None:
    """Decode, run, encode and write a folder of COCO-sized images.

    Takes turns with the same work done one image after another, to show what the overlap gains.
    """
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(IMAGES):
        write_picture(folder / f"{seed:012d}.jpg", COCO.height, COCO.width, seed)
    model = candidate(SHIPPED_MODEL, cache)
    paths = expand([folder])
    alone: list[float] = []
    with DeepMask.load(model.folder, engine=cpu_engine, device="cpu", threads=threads) as opened:
        manifest = opened.manifest
        settings = Settings(
            proposals=1000,
            scales=manifest.views.scales,
            threshold=manifest.threshold,
            overlap=manifest.overlap,
            max_side=manifest.views.max_side,
            max_pixels=MAX_PIXELS,
        )

        def together() -> None:
            with ResultsWriter(tmp_path / "together.json") as writer:
                outcomes = list(run_batch(opened, paths, [None] * IMAGES, settings, writer))
            assert not any(outcome.error for outcome in outcomes)

        def one_by_one() -> None:
            start = time.perf_counter()
            with ResultsWriter(tmp_path / "alone.json") as writer:
                for path, image_id in zip(paths, image_ids(paths), strict=True):
                    found = opened(read_image(path))
                    results = found.to_coco(image_id)
                    writer.add(results, image_id, path.name, *found.image_size)
            alone.append(time.perf_counter() - start)

        run_rounds = cast(Callable[..., None], recorded.pedantic)
        run_rounds(together, setup=one_by_one, rounds=LEAST_ROUNDS, warmup_rounds=1)
    assert (tmp_path / "together.json").read_bytes() == (tmp_path / "alone.json").read_bytes()
    rate, rate_alone = (IMAGES / float(np.median(s)) for s in (durations(recorded), alone[1:]))
    recorded.extra_info |= {
        "load_average": round(os.getloadavg()[0], 1),
        "what": f"folder of {IMAGES} images, {model.name}, {cpu_engine}",
        "facts": {
            "images/s": round(rate, 2),
            "one after another": round(rate_alone, 2),
            "ratio": round(rate / rate_alone, 2),
        },
    }
