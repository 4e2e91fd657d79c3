"""Compare the runtime with the plain way of writing it, on the same weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.baseline import Baseline
from benchmarks.measure import LEAST_ROUNDS, durations
from benchmarks.models import INT8, MODELS, random_export
from benchmarks.scenes import COCO, write_picture
from deepmask.networks.presets import PRESETS
from deepmask.runtime.io.images import read_image
from deepmask.runtime.predict.deepmask import DeepMask

#: What `baseline.py` can run. What refinement costs is measured against the coarse form instead.
UNREFINED = [name for name in MODELS if PRESETS[name.removesuffix(INT8)].family == "deepmask"]


@pytest.mark.benchmark(group="baseline")
@pytest.mark.parametrize("name", UNREFINED)
def test_baseline(
    recorded: BenchmarkFixture,
    name: str,
    cpu_engine: str,
    cache: Path,
    threads: int,
    tmp_path: Path,
) -> None:
    """Measure rounds of the two in turns, so that both see the machine in the same state."""
    torch.set_num_threads(threads)
    checkpoint, folder = random_export(name, cache)
    picture = write_picture(tmp_path / "picture.jpg", COCO.height, COCO.width)
    ours: list[float] = []
    with DeepMask.load(folder, engine=cpu_engine, device="cpu", threads=threads) as model:
        baseline = Baseline(checkpoint, model.manifest)

        def run_ours() -> None:
            start = time.perf_counter()
            model(read_image(picture)).to_coco(image_id=1)
            ours.append(time.perf_counter() - start)

        run_ours()
        ours.clear()
        run_rounds = cast(Callable[..., None], recorded.pedantic)
        run_rounds(
            lambda: baseline(read_image(picture)),
            setup=run_ours,
            rounds=LEAST_ROUNDS,
            warmup_rounds=1,
        )
    seconds = float(np.median(ours))
    recorded.extra_info |= {
        "model": name,
        "engine": cpu_engine,
        "width": COCO.width,
        "height": COCO.height,
        "threads": threads,
        "ours_s": seconds,
        "ratio": float(np.median(durations(recorded))) / seconds,
    }
