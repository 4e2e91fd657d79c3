"""Measure what refinement costs: SharpMask and its coarse form, against the number of masks.

On a busy machine times are not the programs'; the ratio is of processor seconds, taken in turns.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measure import measure
from benchmarks.models import candidate
from benchmarks.scenes import COCO, write_picture
from deepmask.runtime.io.images import read_image
from deepmask.runtime.predict.deepmask import DeepMask

PRESETS = ("sharpmask-r18", "sharpmask")
COUNTS = (1, 100, 500, 1000, 2000)
#: SharpMask's seconds over those of its coarse network, in the thesis' table 3.3.
THESIS_RATIO = 0.76 / 0.46


@pytest.mark.benchmark(group="refinement")
@pytest.mark.parametrize("proposals", COUNTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_sharp_and_coarse(
    recorded: BenchmarkFixture,
    preset: str,
    proposals: int,
    cache: Path,
    threads: int,
    tmp_path: Path,
) -> None:
    """Run both forms in every round, from 640×480 to COCO results."""
    model = candidate(preset, cache)
    image = read_image(write_picture(tmp_path / "picture.jpg", COCO.height, COCO.width))

    def load(coarse: bool) -> DeepMask:
        return DeepMask.load(
            model.folder, engine="onnxruntime", device="cpu", threads=threads, coarse=coarse
        )

    with load(False) as sharp, load(True) as coarse:
        rounds = measure(
            recorded,
            lambda: [*seconds(sharp, image, proposals), *seconds(coarse, image, proposals)],
        )
    sharp_s, sharp_cpu, coarse_s, coarse_cpu = np.median(rounds, axis=0)
    recorded.extra_info |= {
        "model": model.name,
        "weights": model.weights,
        "threads": threads,
        "proposals": proposals,
        "sharp_s": round(float(sharp_s), 4),
        "coarse_s": round(float(coarse_s), 4),
        "ratio": round(float(sharp_cpu / coarse_cpu), 3),
        "thesis_ratio": round(THESIS_RATIO, 2),
    }


def seconds(
    model: DeepMask, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], proposals: int
) -> tuple[float, float]:
    """Return clock and processor seconds from an image to COCO results."""
    start, busy = time.perf_counter(), time.process_time()
    model(image, proposals=proposals).to_coco(image_id=1)
    return time.perf_counter() - start, time.process_time() - busy
